# The instance behind the gateway: HTTP/1.1 and websockets, in the process of the cases, so that a case can look at what
# came and say what goes back.
import queue
import socket
import threading

from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, Request
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

DEADLINE = 20


class Seen:
    def __init__(self, method, target, headers, body, whole):
        self.method, self.target, self.headers = method, target, headers
        self.body, self.whole = body, whole

    def all(self, name):
        return [value for key, value in self.headers if key == name]


class Origin:
    def __init__(self):
        self.seen = {}
        self.tunnels = {}
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def tunnel(self, name):
        """The queue of connections that were switched at /ws/NAME."""
        with self.lock:
            return self.tunnels.setdefault(name, queue.Queue())

    def accept(self):
        while True:
            client, _ = self.listener.accept()
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client.settimeout(DEADLINE)
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        try:
            reader = client.makefile("rb")
            while self.one(client, reader):
                pass
        except (OSError, ValueError):
            pass

    def one(self, client, reader):
        start = reader.readline()
        if not start:
            return False
        method, target, _ = start.decode("latin-1").split(" ", 2)
        headers, head = [], start
        while (line := reader.readline()) not in (b"\r\n", b""):
            head += line
            name, _, value = line.decode("latin-1").partition(":")
            headers.append((name.lower(), value.strip()))
        head += b"\r\n"
        seen = Seen(method, target, headers, b"", True)
        named = dict(headers)
        if "upgrade" in named and target.startswith("/ws/"):
            self.note(seen)
            return self.switch(client, target, head, named)
        if target == "/never-continue":
            self.note(seen)
            return threading.Event().wait(3) and False
        self.body(reader, named, seen)
        self.note(seen)
        if not seen.whole:
            return False
        if target == "/slow":
            threading.Event().wait(2)
        body = seen.body if target == "/echo" else b"ok"
        if target.startswith("/bytes/"):
            body = b"x" * int(target[7:])
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + (b"" if method == "HEAD" else body))
        return True

    def body(self, reader, named, seen):
        if named.get("transfer-encoding") == "chunked":
            while True:
                line = reader.readline().strip()
                if not line:
                    seen.whole = False
                    return
                size = int(line, 16)
                piece = reader.read(size)
                if size:
                    reader.readline()
                seen.body += piece
                if size == 0:
                    while (line := reader.readline()) not in (b"\r\n", b""):
                        name, _, value = line.decode("latin-1").partition(":")
                        seen.headers.append(("trailer " + name.lower(), value.strip()))
                    seen.whole = line == b"\r\n"
                    return
        length = int(named.get("content-length", 0))
        seen.body = reader.read(length)
        seen.whole = len(seen.body) == length

    def note(self, seen):
        with self.lock:
            self.seen.setdefault(seen.target, []).append(seen)

    def switch(self, client, target, head, named):
        kind = target.split("/")[2].partition("?")[0]
        canned = CANNED.get(kind)
        if canned is not None:
            client.sendall(canned)
            return b"Content-Length" in canned
        websocket = WSConnection(ConnectionType.SERVER)
        try:
            websocket.receive_data(head)
        except RemoteProtocolError as error:
            rejected = error.event_hint
            status = getattr(rejected, "status_code", 400)
            more = "".join(f"{name.decode()}: {value.decode()}\r\n" for name, value in getattr(rejected, "headers", []))
            client.sendall(f"HTTP/1.1 {status} Refused\r\n{more}Content-Length: 0\r\n\r\n".encode())
            return True
        request = next(websocket.events())
        assert isinstance(request, Request)
        extra = []
        if any("permessage-deflate" in str(extension) for extension in request.extensions):
            extra.append((b"Sec-WebSocket-Extensions", b"permessage-deflate; server_no_context_takeover"))
        subprotocol = request.subprotocols[0] if request.subprotocols else None
        try:
            answer = websocket.send(AcceptConnection(subprotocol=subprotocol, extra_headers=extra))
        except LocalProtocolError:
            return False
        # Some say something at once, in the same breath as the switch.
        early = b"\x81\x05early" if kind == "early" else b""
        client.sendall(answer + early)
        self.tunnel(target.partition("?")[0][4:]).put((client, websocket))
        return False


# What an instance says to a request for a websocket instead of switching as it should.
CANNED = {
    "ok": b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\npage",
    "redirect": b"HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n",
    "denied": b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n",
    "no-upgrade": b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\r\n",
    "no-accept": b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    "wrong-accept": b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
}
