# Websockets and gRPC calls, on the standard library. Without TO it echoes them; with it each connection goes on to another
# service over a link, byte by byte, and with ASKERS so many threads ask that service without a pause.
import base64
import hashlib
import http.client
import json
import os
import signal
import socket
import struct
import threading
import time

TO = os.environ.get("TO", "")
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS, PING = 0, 1, 3, 4, 6
END_STREAM, ACK = 1, 1


def exactly(reader, count):
    data = reader.read(count)
    if len(data) != count:
        raise EOFError
    return data


def literal(name, value):
    """A field that nobody remembers (RFC 7541, 6.2.2)."""
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


def grpc(client, reader):
    """Echoes calls of HTTP/2, and ends each well. What they are asked by name does not matter: it is not read."""
    exactly(reader, len(PREFACE))

    def send(kind, flags, stream, payload=b""):
        client.sendall(struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload)

    send(SETTINGS, 0, 0)
    bodies = {}
    while True:
        head = exactly(reader, 9)
        size = int.from_bytes(head[:3], "big")
        kind, flags, stream = struct.unpack(">BBI", head[3:])
        payload = exactly(reader, size)
        if kind == SETTINGS and not flags & ACK:
            send(SETTINGS, ACK, 0)
        elif kind == PING and not flags & ACK:
            send(PING, ACK, 0, payload)
        elif kind == HEADERS:
            bodies[stream] = b""
            # `:status 200`, and 4 stands for the end of the fields.
            send(HEADERS, 4, stream, b"\x88" + literal(b"content-type", b"application/grpc"))
        elif kind == DATA:
            bodies[stream] += payload
            if payload:
                send(DATA, 0, stream, payload)
        if kind in (HEADERS, DATA) and flags & END_STREAM and stream in bodies:
            # What asks for an end that never comes is left open.
            if b"for ever" not in bodies.pop(stream):
                send(HEADERS, 4 | END_STREAM, stream, literal(b"grpc-status", b"0"))


def websocket(client, reader, key):
    digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    client.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
        b"sec-websocket-accept: " + base64.b64encode(digest) + b"\r\n\r\n"
    )
    while True:
        first, size = exactly(reader, 2)
        size &= 0x7F
        if size == 126:
            size = int.from_bytes(exactly(reader, 2), "big")
        mask = exactly(reader, 4)
        data = bytes(byte ^ mask[at % 4] for at, byte in enumerate(exactly(reader, size)))
        long = b"" if size < 126 else struct.pack(">H", size)
        client.sendall(bytes([first, min(size, 126)]) + long + data)
        if first & 0x0F == 8:
            return


def plain(client, reader):
    """Requests of HTTP/1.1, until one becomes a websocket or its client has gone."""
    while True:
        start = reader.readline()
        if not start:
            return
        fields = {}
        while (line := reader.readline()) not in (b"\r\n", b""):
            name, _, value = line.partition(b":")
            fields[name.lower()] = value.strip()
        if b"sec-websocket-key" in fields:
            return websocket(client, reader, fields[b"sec-websocket-key"])
        path = start.split(b" ")[1]
        body = fields.get(b"ward-from-env", b"nobody")
        if path == b"/asked":
            with LOCK:
                body = json.dumps(ASKED).encode()
        client.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))


def onward(client):
    """The whole connection, over the link."""
    other = socket.create_connection((TO, 80))

    def copy(source, target):
        try:
            while data := source.recv(65536):
                target.sendall(data)
        except OSError:
            pass
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    threading.Thread(target=copy, args=(other, client), daemon=True).start()
    copy(client, other)


def serve(client):
    own = (b"GET /healthz ", b"GET /asked ")
    with client:
        try:
            first = b""
            while len(first) < len(own[0]) and (first := client.recv(len(PREFACE), socket.MSG_PEEK)):
                pass
            if TO and not first.startswith(own):
                return onward(client)
            reader = client.makefile("rb")
            return grpc(client, reader) if first.startswith(PREFACE[:14]) else plain(client, reader)
        except (OSError, EOFError):
            pass


ASKED = {"well": 0, "failed": [], "longest": 0.0}
LOCK = threading.Lock()


def ask(kept):
    """Asks over the link, by one connection or each time by another, and counts."""
    link = None
    while True:
        begun, trouble = time.monotonic(), None
        try:
            link = link or http.client.HTTPConnection(TO, timeout=30)
            link.request("GET", "/", headers={} if kept else {"connection": "close"})
            answer = link.getresponse()
            answer.read()
            if answer.status != 200:
                trouble = str(answer.status)
            if not kept or answer.getheader("connection") == "close":
                link = None
        except (OSError, http.client.HTTPException) as error:
            link, trouble = None, repr(error)
        with LOCK:
            ASKED["longest"] = max(ASKED["longest"], time.monotonic() - begun)
            if trouble:
                ASKED["failed"].append(trouble)
            else:
                ASKED["well"] += 1
        time.sleep(0.002)


for number in range(int(os.environ.get("ASKERS", "0"))):
    threading.Thread(target=ask, args=(number % 2 == 0,), daemon=True).start()
listener = socket.create_server(("127.0.0.1", int(os.environ["PORT"])), backlog=128)
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
while True:
    client, _ = listener.accept()
    threading.Thread(target=serve, args=(client,), daemon=True).start()
