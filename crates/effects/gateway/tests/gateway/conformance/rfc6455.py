# What RFC 6455 (websockets) says of the handshake, and that behind it every byte comes through as it was sent, right or
# wrong: frames are for the two ends to judge. And the same over HTTP/2 (RFC 8441), where a stream takes the place of the
# connection. The instance is wsproto's server.
import itertools
import socket
import struct
import threading
import time

import h2.config
import h2.connection
import h2.events
import h2.settings
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Ping, Pong, Request, TextMessage

DEADLINE = 10
HOST = "shop.localhost"
KEY, ACCEPT = "dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
names = itertools.count(1)
CASES = []


def case(section, what, expected, act, known=None):
    expected = (expected,) if isinstance(expected, str) else expected
    CASES.append((section, what, expected, act, known))


def exact(sock, count):
    got = b""
    while len(got) < count:
        more = sock.recv(count - len(got))
        assert more, f"the end, after {len(got)} of {count} bytes"
        got += more
    return got


def rest(sock):
    got = b""
    while more := sock.recv(65536):
        got += more
    return got


def frame(opcode, payload=b"", mask=b"\1\2\3\4", fin=True, rsv=0, length=None, wide=None):
    """A frame as it is told, right or wrong."""
    size = len(payload) if length is None else length
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    masked = 0x80 if mask else 0
    if wide == 8 or (wide is None and size > 65535):
        head = struct.pack(">BBQ", first, masked | 127, size)
    elif wide == 2 or (wide is None and size > 125):
        head = struct.pack(">BBH", first, masked | 126, size)
    else:
        head = struct.pack(">BB", first, masked | size)
    if mask:
        payload = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
    return head + (mask or b"") + payload


class Both:
    """A client of the gateway and, once it is switched, the instance's end."""

    def __init__(self, address, origin):
        self.address, self.origin = address, origin
        self.sock, self.server = None, None
        self.buffer = b""

    def ask(self, path, fields=(), method="GET", version="1.1", drop=(), more=b"", host=HOST):
        self.sock = socket.create_connection(self.address, timeout=DEADLINE)
        usual = [("Host", host), ("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"), ("Sec-WebSocket-Key", KEY)]
        usual = [field for field in usual if field[0] not in drop]
        lines = [f"{name}: {value}\r\n" for name, value in [*usual, *fields]]
        self.sock.sendall(f"{method} {path} HTTP/{version}\r\n{''.join(lines)}\r\n".encode() + more)
        return self.answer()

    def answer(self):
        while b"\r\n\r\n" not in self.buffer:
            more = self.sock.recv(65536)
            if not more:
                return "closed"
            self.buffer += more
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        start, *lines = head.decode("latin-1").split("\r\n")
        self.fields = [(name.lower(), value) for name, _, value in (line.partition(": ") for line in lines)]
        return start.split(" ")[1]

    def field(self, name):
        found = [value for key, value in self.fields if key == name]
        assert len(found) <= 1, found
        return found[0] if found else None

    def open(self, fields=(), more=b"", kind="t", query=""):
        name = f"{kind}/{next(names)}"
        queue = self.origin.tunnel(name)
        status = self.ask(f"/ws/{name}{query}", fields, more=more)
        assert status == "101", status
        assert self.field("sec-websocket-accept") == ACCEPT and self.field("upgrade").lower() == "websocket"
        assert self.field("connection").lower() == "upgrade"
        self.server, self.websocket = queue.get(timeout=DEADLINE)
        self.seen = self.origin.seen[f"/ws/{name}{query}"][0]
        return self

    def carries(self, outward=b"", inward=b"", pieces=None):
        """These bytes come through as they are, both ways."""
        for start in range(0, len(outward), pieces or max(len(outward), 1)):
            self.sock.sendall(outward[start : start + (pieces or len(outward))])
        assert exact(self.server, len(outward)) == outward
        self.server.sendall(inward)
        buffered, self.buffer = self.buffer, b""
        assert buffered + exact(self.sock, len(inward) - len(buffered)) == inward
        return self

    def alive(self):
        self.carries(frame(9, b"alive?"), frame(10, b"alive?", mask=None))
        return "ok"

    def close(self):
        for sock in (self.sock, self.server):
            if sock is not None:
                sock.close()


# 4: the handshake. The instance judges it, and the client hears what it says.
case("4.2.1", "as it should be", "ok", lambda t: t.open().alive())
case("4.2.1", "without a key", "400", lambda t: t.ask("/ws/t/x", drop=["Sec-WebSocket-Key"]))
case("4.2.1", "with an empty key: the instance judges, and wsproto takes it", "101", lambda t: t.ask("/ws/t/x", [("Sec-WebSocket-Key", "")], drop=["Sec-WebSocket-Key"]))
case("4.2.1", "without a version", ("400", "426"), lambda t: t.ask("/ws/t/x", drop=["Sec-WebSocket-Version"]))
case("4.2.1", "of a method that is not GET", ("400", "405"), lambda t: t.ask("/ws/t/x", method="POST"))
case("4.2.1", "of HTTP/1.0 is no upgrade", ("400", "404", "200"), lambda t: t.ask("/ws/t/x", version="1.0"))
case("4.2.1", "with a body is no upgrade", "200", lambda t: t.ask("/ws/t/x", [("Content-Length", "4")], method="POST", more=b"body"))
case("4.2.1", "without Connection: Upgrade is no upgrade", "200", lambda t: t.ask("/ws/t/x", drop=["Connection"]))
case("4.2.1", "without Host", "400", lambda t: t.ask("/ws/t/x", drop=["Host"]))
case("4.2.1", "with Host twice", "400", lambda t: t.ask("/ws/t/x", [("Host", HOST)]))
case("4.2.1", "to a host that nobody serves", "404", lambda t: t.ask("/ws/t/x", host="nobody.localhost"))


def version(t):
    status = t.ask("/ws/t/x", [("Sec-WebSocket-Version", "12")], drop=["Sec-WebSocket-Version"])
    assert t.field("sec-websocket-version") == "13"
    return status


case("4.4", "of another version: the client hears which is known", ("400", "426"), version)


def listed(t):
    name = f"t/{next(names)}"
    queue = t.origin.tunnel(name)
    status = t.ask(f"/ws/{name}", [("Connection", "keep-alive, uPgRaDe"), ("Upgrade", "WebSocket")], drop=["Connection", "Upgrade"])
    assert status == "101", status
    t.server, t.websocket = queue.get(timeout=DEADLINE)
    return t.alive()


case("4.1", "tokens in any case, in a list", "ok", listed)


def fields(t):
    t.open([("Origin", "http://shop.localhost"), ("Cookie", "a=b"), ("Sec-WebSocket-Protocol", "chat, other"),
            ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits"), ("X-Forwarded-For", "6.6.6.6")], query="?room=1")
    assert t.seen.all("origin") == ["http://shop.localhost"] and t.seen.all("cookie") == ["a=b"]
    assert t.seen.all("sec-websocket-protocol") == ["chat, other"] and t.seen.all("sec-websocket-key") == [KEY]
    assert t.seen.all("sec-websocket-extensions") == ["permessage-deflate; client_max_window_bits"]
    assert t.seen.all("x-forwarded-for") == ["127.0.0.1"], t.seen.headers
    assert t.field("sec-websocket-protocol") == "chat"
    assert t.field("sec-websocket-extensions").startswith("permessage-deflate")
    return t.alive()


case("4.2.2", "origin, cookies, subprotocols and extensions reach the other end", "ok", fields)
case("4.2.2", "an instance that answers with a page", "200", lambda t: t.ask("/ws/ok"))
case("4.2.2", "an instance that redirects", "302", lambda t: t.ask("/ws/redirect"))
case("4.2.2", "an instance that wants to know who asks", "401", lambda t: t.ask("/ws/denied"))
case("4.2.2", "a switch that does not say to what", "502", lambda t: t.ask("/ws/no-upgrade"))
case("4.1", "a wrong answer to the key is for the client to judge", "101", lambda t: t.ask("/ws/wrong-accept"))


def twice(t):
    assert t.ask("/ws/t/x", drop=["Sec-WebSocket-Key"]) == "400"
    t.sock.sendall(f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
    return t.answer()


case("4.2.2", "a connection goes on behind a handshake that was refused", "200", twice)

# 4.1: what comes in the same breath.
case("4.1", "frames in one breath with the handshake", "ok", lambda t: t.open(more=frame(1, b"at once")) and (
    exact(t.server, 13) == frame(1, b"at once")) and t.alive())


def early(t):
    t.open(kind="early")
    said, t.buffer = t.buffer, b""
    assert said + exact(t.sock, 7 - len(said)) == b"\x81\x05early"
    return t.alive()


case("4.1", "a frame in one breath with the switch", "ok", early)
case("4.1", "a request behind the switch is no request", "ok", lambda t: t.open(more=b"GET /never/ HTTP/1.1\r\n\r\n") and (
    exact(t.server, 24) == b"GET /never/ HTTP/1.1\r\n\r\n") and t.alive())

# 5: frames, right and wrong, come through as they are.
UTF8 = "Grüße, 世界".encode()


def both(*frames):
    return b"".join(frames)


for section, what, outward in [
    ("5.6", "text", frame(1, UTF8)),
    ("5.6", "binary", frame(2, bytes(range(256)))),
    ("5.2", "an empty message", frame(1)),
    ("5.2", "125 bytes", frame(2, b"x" * 125)),
    ("5.2", "126 bytes", frame(2, b"x" * 126)),
    ("5.2", "65,535 bytes", frame(2, b"x" * 65535)),
    ("5.2", "65,536 bytes", frame(2, b"x" * 65536)),
    ("5.2", "a length in more bytes than it needs", both(frame(2, b"x", wide=2), frame(2, b"x", wide=8))),
    ("5.2", "a length with the highest bit set", struct.pack(">BBQ", 0x82, 0xFF, 2**63 + 1) + b"\1\2\3\4xyz"),
    ("5.2", "reserved bits", both(*[frame(1, b"x", rsv=rsv) for rsv in range(1, 8)])),
    ("5.2", "reserved opcodes", both(*[frame(opcode, b"x") for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)])),
    ("5.3", "a mask of zeros", frame(1, b"plain", mask=b"\0\0\0\0")),
    ("5.3", "a client's frame without a mask", frame(1, b"not masked", mask=None)),
    ("5.4", "a message in fragments", both(frame(1, b"one", fin=False), frame(0, b"two", fin=False), frame(0, b"three"))),
    ("5.4", "empty fragments", both(frame(2, b"", fin=False), frame(0, b"", fin=False), frame(0, b""))),
    ("5.4", "control frames between fragments", both(
        frame(1, b"one", fin=False), frame(9, b"ping"), frame(0, b"two", fin=False), frame(10, b"pong"), frame(0, b"three"))),
    ("5.4", "a continuation of nothing", frame(0, b"of what?")),
    ("5.4", "a message within another one", both(frame(1, b"one", fin=False), frame(2, b"other"), frame(0, b"two"))),
    ("5.5", "a control frame in fragments", both(frame(9, b"pi", fin=False), frame(0, b"ng"))),
    ("5.5", "a control frame that is too long", frame(9, b"x" * 126)),
    ("5.5.2", "a ping with as much as it may have", frame(9, b"x" * 125)),
    ("5.5.3", "a pong that nobody asked for", frame(10, b"here I am")),
    ("8.1", "text that is no UTF-8", frame(1, b"\xc0\xaf\xff")),
    ("8.1", "text that is cut within a letter", both(frame(1, UTF8[:3], fin=False), frame(0, UTF8[3:]))),
]:
    inward = outward.replace(b"\x81", b"\x82")
    case(section, what, "ok", lambda t, outward=outward, inward=inward: t.open().carries(outward, inward).carries(outward, inward, 7) and "ok")

case("5.2", "one byte at a time", "ok", lambda t: t.open().carries(frame(1, UTF8) + frame(9, b"p"), frame(1, UTF8, mask=None), 1).alive())
case("5.2", "a frame of 8 MiB", "ok", lambda t: large(t, frame(2, b"0123456789abcdef" * (1 << 19), mask=b"\0\0\0\0")))


def large(t, outward):
    # Neither end reads before all is sent, so that it must be taken and given on in turns.
    t.open()
    t.sock.settimeout(60)
    t.server.settimeout(60)
    sender = threading.Thread(target=t.sock.sendall, args=(outward,))
    sender.start()
    assert exact(t.server, len(outward)) == outward
    sender.join()
    sender = threading.Thread(target=t.server.sendall, args=(outward,))
    sender.start()
    assert exact(t.sock, len(outward)) == outward
    sender.join()
    return t.alive()


# 7: the end.
for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 3000, 4999):
    case("7.4.1", f"close code {code}, from either side", "ok", lambda t, code=code: closes(t, struct.pack(">H", code) + b"why"))
for what, payload in [
    ("no code", b""), ("half a code", b"\3"), ("a code that must not be sent", struct.pack(">H", 1006)), ("code 0", b"\0\0"),
    ("a reason that is no UTF-8", b"\x03\xe8\xff"), ("a reason as long as it may be", struct.pack(">H", 1000) + b"x" * 123),
]:
    case("7.4", f"a close frame with {what}", "ok", lambda t, payload=payload: closes(t, payload))


def closes(t, payload):
    t.open().carries(frame(8, payload), frame(8, payload, mask=None))
    t.server.close()
    assert rest(t.sock) == b""
    t.server = None
    # And the other way round.
    again = Both(t.address, t.origin).open()
    again.server.sendall(frame(8, payload, mask=None))
    assert exact(again.sock, len(payload) + 2) == frame(8, payload, mask=None)
    again.carries(frame(8, payload))
    again.sock.shutdown(socket.SHUT_WR)
    assert rest(again.server) == b""
    again.close()
    return "ok"


def half_closed(t):
    t.open()
    t.sock.sendall(frame(1, b"last"))
    t.sock.shutdown(socket.SHUT_WR)
    assert rest(t.server) == frame(1, b"last")
    t.server.sendall(frame(8, b"\x03\xe8", mask=None))
    t.server.close()
    t.server = None
    assert rest(t.sock) == frame(8, b"\x03\xe8", mask=None)
    return "ok"


case("7.1.1", "a client that closes its half still hears the other", "ok", half_closed)


def server_half(t):
    t.open()
    t.server.sendall(frame(1, b"last", mask=None))
    t.server.shutdown(socket.SHUT_WR)
    assert rest(t.sock) == frame(1, b"last", mask=None)
    t.sock.sendall(frame(8, b"\x03\xe8"))
    assert rest(t.server) == frame(8, b"\x03\xe8")
    return "ok"


case("7.1.1", "an instance that closes its half still hears the other", "ok", server_half)


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def broken(t, which):
    t.open().alive()
    ends = [t.sock, t.server]
    reset(ends.pop(which))
    try:
        assert rest(ends[0]) == b""
    except ConnectionResetError:
        pass
    return "ok"


case("7.1.7", "a client that is gone: the instance hears the end", "ok", lambda t: broken(t, 0))
case("7.1.7", "an instance that is gone: the client hears the end", "ok", lambda t: broken(t, 1))
case("7.3", "frames behind a close frame are for the other end to judge", "ok", lambda t: t.open().carries(
    frame(8, b"\x03\xe8") + frame(1, b"late"), frame(8, b"", mask=None) + frame(1, b"late", mask=None)) and "ok")


# The same by wsproto at both ends.
def talk(t, ours, theirs, send, receive):
    """A conversation of a client and the instance, each wsproto's. `send` and `receive` carry the client's bytes."""
    kinds = (TextMessage, BytesMessage, Ping, Pong, CloseConnection)

    def hear(websocket, get):
        while True:
            for event in websocket.events():
                assert isinstance(event, kinds), event
                return event
            websocket.receive_data(get())

    send(ours.send(TextMessage(data="Grü", message_finished=False)))
    send(ours.send(Ping(payload=b"between")))
    send(ours.send(TextMessage(data="ße", message_finished=True)))
    server = lambda: t.server.recv(65536)
    heard = ""
    while not heard.endswith("ße"):
        event = hear(theirs, server)
        if isinstance(event, Ping):
            t.server.sendall(theirs.send(event.response()))
        else:
            heard += event.data
    assert heard == "Grüße", heard
    event = hear(ours, receive)
    assert isinstance(event, Pong) and event.payload == b"between", event
    t.server.sendall(theirs.send(BytesMessage(data=b"\0" * 100_000)))
    length = 0
    while length < 100_000:
        length += len(hear(ours, receive).data)
    send(ours.send(CloseConnection(code=1000, reason="done")))
    event = hear(theirs, server)
    assert (event.code, event.reason) == (1000, "done"), event
    t.server.sendall(theirs.send(event.response()))
    event = hear(ours, receive)
    assert isinstance(event, CloseConnection) and event.code == 1000, event
    return "ok"


def wsproto_both(t):
    t.sock = socket.create_connection(t.address, timeout=DEADLINE)
    name = f"t/{next(names)}"
    queue = t.origin.tunnel(name)
    ours = WSConnection(ConnectionType.CLIENT)
    t.sock.sendall(ours.send(Request(host=HOST, target=f"/ws/{name}", subprotocols=["chat"])))
    t.server, theirs = queue.get(timeout=DEADLINE)
    receive = lambda: t.sock.recv(65536)
    ours.receive_data(receive())
    accepted = next(ours.events())
    assert isinstance(accepted, AcceptConnection) and accepted.subprotocol == "chat", accepted
    return talk(t, ours, theirs, t.sock.sendall, receive)


case("1.3", "wsproto at both ends", "ok", wsproto_both)


# RFC 8441: over HTTP/2.
class Stream:
    """Websockets over one HTTP/2 connection, by the library h2."""

    def __init__(self, t):
        self.t = t
        t.sock = socket.create_connection(t.address, timeout=DEADLINE)
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.heads, self.data, self.ended, self.resets = {}, {}, set(), {}
        self.flush()
        self.until(lambda: self.h2.remote_settings.get(h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL) == 1)

    def flush(self):
        self.t.sock.sendall(self.h2.data_to_send())

    def until(self, condition):
        deadline = time.monotonic() + DEADLINE
        while not condition():
            self.t.sock.settimeout(max(deadline - time.monotonic(), 0.01))
            more = self.t.sock.recv(65536)
            assert more, "the connection ended"
            for event in self.h2.receive_data(more):
                match event:
                    case h2.events.ResponseReceived():
                        self.heads[event.stream_id] = dict(event.headers)
                    case h2.events.DataReceived():
                        self.data[event.stream_id] = self.data.get(event.stream_id, b"") + event.data
                        if event.flow_controlled_length:
                            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                    case h2.events.StreamEnded():
                        self.ended.add(event.stream_id)
                    case h2.events.StreamReset():
                        self.resets[event.stream_id] = event.error_code
            self.flush()

    def ask(self, path, fields=(), protocol="websocket"):
        stream = self.h2.get_next_available_stream_id()
        head = [(":method", "CONNECT"), (":protocol", protocol), (":scheme", "http"), (":path", path), (":authority", HOST),
                ("sec-websocket-version", "13"), *fields]
        self.h2.send_headers(stream, head)
        self.flush()
        self.until(lambda: stream in self.heads or stream in self.resets)
        return stream

    def open(self, fields=()):
        name = f"t/{next(names)}"
        queue = self.t.origin.tunnel(name)
        stream = self.ask(f"/ws/{name}", fields)
        assert self.heads[stream][":status"] == "200", self.heads
        assert not {"sec-websocket-accept", "upgrade", "connection"} & self.heads[stream].keys(), self.heads
        server, theirs = queue.get(timeout=DEADLINE)
        return stream, server, theirs

    def send(self, stream, payload, end=False):
        while payload or end:
            self.until(lambda: self.h2.local_flow_control_window(stream) > 0)
            room = min(self.h2.local_flow_control_window(stream), 16384)
            piece, payload = payload[:room], payload[room:]
            last = end and not payload
            self.h2.send_data(stream, piece, end_stream=last)
            self.flush()
            if last:
                return

    def carries(self, stream, server, outward, inward):
        self.send(stream, outward)
        assert exact(server, len(outward)) == outward
        server.sendall(inward)
        start = len(self.data.get(stream, b""))
        self.until(lambda: len(self.data.get(stream, b"")) >= start + len(inward))
        assert self.data[stream][start:] == inward


def over_h2(t, act):
    s = Stream(t)
    stream, t.server, theirs = s.open()
    return act(t, s, stream, theirs) or "ok"


def h2_talk(t, s, stream, theirs):
    # What is left of wsproto where HTTP/2 has made the handshake.
    from wsproto.connection import Connection

    ours = Connection(ConnectionType.CLIENT)

    def receive():
        s.until(lambda: s.data.get(stream))
        return s.data.pop(stream)

    return talk(t, ours, theirs, lambda payload: s.send(stream, payload), receive)


case("8441 5", "wsproto at both ends", "ok", lambda t: over_h2(t, h2_talk))
case("8441 5", "every frame comes through as it is", "ok", lambda t: over_h2(t, lambda t, s, stream, _: s.carries(
    stream, t.server, frame(1, b"one", fin=False) + frame(9, b"p") + frame(0, b"two") + frame(1, b"bare", mask=None) + frame(3, b"?"),
    frame(2, b"x" * 70_000, mask=None) + frame(8, b"\3", mask=None))))


def fields_over_h2(t):
    s = Stream(t)
    offered = [("origin", "http://shop.localhost"), ("sec-websocket-protocol", "chat, other"), ("cookie", "a=b"), ("cookie", "c=d"),
               ("sec-websocket-extensions", "permessage-deflate")]
    stream, t.server, _ = s.open(offered)
    head = s.heads[stream]
    assert head["sec-websocket-protocol"] == "chat" and head["sec-websocket-extensions"].startswith("permessage-deflate"), head
    seen = next(one for target, all in t.origin.seen.items() for one in all if one.all("cookie") == ["a=b; c=d"])
    assert seen.method == "GET" and seen.all("upgrade") == ["websocket"] and len(seen.all("sec-websocket-key")) == 1, seen.headers
    assert seen.all("sec-websocket-protocol") == ["chat, other"] and seen.all("origin") == ["http://shop.localhost"]
    return "ok"


case("8441 5", "origin, cookies, subprotocols and extensions reach the other end", "ok", fields_over_h2)


def status_over_h2(t, path, fields=()):
    s = Stream(t)
    stream = s.ask(path, fields)
    status = s.heads[stream][":status"]
    # The connection goes on.
    again, t.server, _ = s.open()
    s.carries(again, t.server, frame(1, b"x"), frame(1, b"y", mask=None))
    return status


case("8441 5", "an instance that answers with a page", "400", lambda t: status_over_h2(t, "/ws/ok"))
case("8441 5", "an instance that redirects", "302", lambda t: status_over_h2(t, "/ws/redirect"))
case("8441 5", "an instance that wants to know who asks", "401", lambda t: status_over_h2(t, "/ws/denied"))
case("8441 5", "a switch that does not answer the key", "502", lambda t: status_over_h2(t, "/ws/no-accept"))
case("8441 5", "a switch that answers another key", "502", lambda t: status_over_h2(t, "/ws/wrong-accept"))
case("8441 5", "a switch that does not say to what", "502", lambda t: status_over_h2(t, "/ws/no-upgrade"))


def many(t, s, first, _):
    pairs = [(first, t.server)] + [s.open()[:2] for _ in range(9)]
    for round in range(3):
        for at, (stream, server) in enumerate(pairs):
            s.carries(stream, server, frame(1, b"%d.%d" % (round, at)), frame(2, b"y" * (at * 1000), mask=None))
    for _, server in pairs:
        server.close()
    s.until(lambda: all(stream in s.ended for stream, _ in pairs))


case("8441 4", "many on one connection", "ok", lambda t: over_h2(t, many))


def end_stream(t, s, stream, _):
    s.send(stream, frame(1, b"last"), end=True)
    assert rest(t.server) == frame(1, b"last")
    t.server.sendall(frame(8, b"", mask=None))
    t.server.close()
    s.until(lambda: stream in s.ended)
    assert s.data[stream] == frame(8, b"", mask=None)


case("8441 5", "END_STREAM is the end of a connection's half", "ok", lambda t: over_h2(t, end_stream))


def reset_stream(t, s, stream, _):
    s.h2.reset_stream(stream, 8)
    s.flush()
    assert rest(t.server) == b""
    again, t.server, _ = s.open()
    s.carries(again, t.server, frame(1, b"x"), frame(1, b"y", mask=None))


case("8441 5", "RST_STREAM is the end of a connection", "ok", lambda t: over_h2(t, reset_stream))


def gone(t, s, stream, _):
    reset(t.server)
    t.server = None
    s.until(lambda: stream in s.ended or stream in s.resets)
    again, t.server, _ = s.open()
    s.carries(again, t.server, frame(1, b"x"), frame(1, b"y", mask=None))


case("8441 5", "an instance that is gone ends its stream alone", "ok", lambda t: over_h2(t, gone))


def hanging(t, s, stream, _):
    t.sock.close()
    assert rest(t.server) == b""


case("8441 5", "a client that is gone: the instance hears the end", "ok", lambda t: over_h2(t, hanging))


def pressed_back(t, s, stream, _):
    # A client that takes nothing of one websocket: the instance is held back, and others go on.
    t.server.settimeout(1)
    sent = 0
    try:
        while sent < 64 << 20:
            sent += t.server.send(b"x" * 65536)
    except TimeoutError:
        pass
    assert sent < 64 << 20, "nothing held it back"
    other = Both(t.address, t.origin).open()
    other.alive()
    other.close()
    t.server.settimeout(DEADLINE)
    s.until(lambda: len(s.data.get(stream, b"")) >= sent)
    assert s.data[stream] == b"x" * sent


case("8441 5", "a client that reads nothing holds the instance back", "ok", lambda t: over_h2(t, pressed_back))


def run(address, origin, one):
    both = Both(address, origin)
    try:
        return one[3](both)
    except AssertionError as error:
        line = error.__traceback__
        while line.tb_next:
            line = line.tb_next
        return f"failed in line {line.tb_lineno}: {error}"
    finally:
        both.close()
