# A client of HTTP/2 that sends whatever frames it is told to, and says what came back.
import socket
import struct
import time

import hpack
import hyperframe.frame as frames

DEADLINE = 10
HOST = "shop.localhost"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, PRIO = 0x1, 0x1, 0x4, 0x8, 0x20
NAMES = [
    "NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
    "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
]


def frame(kind, flags=0, stream=0, payload=b"", length=None):
    """A frame as it is told, right or wrong."""
    size = len(payload) if length is None else length
    return struct.pack(">I", size)[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def name(code):
    return NAMES[code] if code < len(NAMES) else str(code)


class Gone(Exception):
    pass


class Conn:
    """A connection, and all that came on it so far."""

    def __init__(self, address, hello=True):
        self.socket = socket.create_connection(address, timeout=DEADLINE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.encoder, self.decoder = hpack.Encoder(), hpack.Decoder()
        self.buffer = b""
        self.settings, self.acks, self.pongs = {}, 0, []
        self.goaway, self.closed = None, False
        self.heads, self.bodies, self.resets, self.ended, self.trailers = {}, {}, {}, set(), {}
        self.windows = {}
        if hello:
            self.send(PREFACE, frame(SETTINGS))
            self.until(lambda: self.settings and self.acks)

    def send(self, *parts):
        try:
            self.socket.sendall(b"".join(parts))
        except OSError:
            self.closed = True

    def encode(self, fields):
        return self.encoder.encode(fields, huffman=False)

    def head(self, path="/", method="GET", more=(), drop=(), add=()):
        fields = [(":method", method), (":scheme", "http"), (":path", path), (":authority", HOST)]
        fields = [field for field in fields if field[0] not in drop]
        return self.encode([*fields, *add, *more])

    def ask(self, stream, path="/", end=True, flags=END_HEADERS, **how):
        """A whole HEADERS frame of a request."""
        return frame(HEADERS, flags | (END_STREAM if end else 0), stream, self.head(path, **how))

    def raw(self, stream, fields, end=True):
        return frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream, self.encode(fields))

    def until(self, condition, within=DEADLINE):
        """Reads until the condition holds; whether it does, or the connection has ended or the time is over."""
        deadline = time.monotonic() + within
        while not condition() and not self.closed:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self.read(left)
        return condition()

    def read(self, within):
        self.socket.settimeout(within)
        try:
            more = self.socket.recv(65536)
        except TimeoutError:
            return
        except OSError:
            more = b""
        if not more:
            self.closed = True
        self.buffer += more
        while len(self.buffer) >= 9:
            head, length = frames.Frame.parse_frame_header(memoryview(self.buffer[:9]))
            if len(self.buffer) < 9 + length:
                return
            payload = self.buffer[9 : 9 + length]
            self.buffer = self.buffer[9 + length :]
            head.parse_body(memoryview(payload))
            self.take(head)

    def take(self, got):
        stream = got.stream_id
        match got:
            case frames.SettingsFrame():
                if "ACK" in got.flags:
                    self.acks += 1
                else:
                    self.settings.update(got.settings or {0: 0})
                    self.send(frame(SETTINGS, ACK))
            case frames.PingFrame():
                if "ACK" in got.flags:
                    self.pongs.append(bytes(got.opaque_data))
                else:
                    self.send(frame(PING, ACK, 0, got.opaque_data))
            case frames.HeadersFrame():
                assert "END_HEADERS" in got.flags, "no case makes it send so much"
                fields = self.decoder.decode(got.data)
                if stream in self.heads:
                    self.trailers[stream] = dict(fields)
                else:
                    self.heads[stream] = dict(fields)
            case frames.DataFrame():
                self.bodies[stream] = self.bodies.get(stream, b"") + got.data
            case frames.RstStreamFrame():
                self.resets[stream] = got.error_code
            case frames.GoAwayFrame():
                self.goaway = got.error_code
            case frames.WindowUpdateFrame():
                self.windows[stream] = self.windows.get(stream, 0) + got.window_increment
        if "END_STREAM" in got.flags:
            self.ended.add(stream)

    def status(self, stream):
        return self.heads.get(stream, {}).get(":status")

    def is_settled(self, stream):
        return stream in self.ended or stream in self.resets or self.goaway is not None

    def outcome(self, stream=None):
        """What became of a stream, or of the connection: `200`, `RST X`, `GOAWAY X`, `closed`, `nothing`."""
        if stream is None:
            self.until(lambda: self.goaway is not None)
        else:
            self.until(lambda: self.is_settled(stream))
        if self.goaway is not None and not (stream in self.ended and self.goaway == 0):
            said = f"GOAWAY {name(self.goaway)}"
            return said if self.until(lambda: self.closed, 8) else f"{said}, not closed"
        if stream is not None and stream in self.resets:
            return f"RST {name(self.resets[stream])}"
        if stream is not None and stream in self.ended:
            return self.status(stream)
        return "closed" if self.closed else "nothing"

    def goes_on(self):
        """Whether the connection still serves: a PING comes back and a new request is answered."""
        self.send(frame(PING, 0, 0, b"goes on?"))
        if not self.until(lambda: b"goes on?" in self.pongs or self.goaway is not None):
            return False
        stream = 0x7FFF_0001
        self.send(self.ask(stream), frame(WINDOW, 0, stream, struct.pack(">I", 1000)))
        return self.goaway is None and self.outcome(stream) == "200"

    def close(self):
        self.socket.close()
