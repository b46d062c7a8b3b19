# The application of the tests: an HTTP server on the standard library.
import hashlib
import json
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MODE = os.environ.get("MODE", "")
BODY = os.environ.get("ANSWER", "hello")

if MODE == "exit":
    print("cannot open the moon", file=sys.stderr)
    sys.exit(3)
if MODE == "fork":
    # Children that would outlive their parent, if they could.
    for _ in range(3):
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(3600)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    broken = False

    def answer(self, status, body, headers=()):
        data = body.encode()
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        if self.path == "/healthz":
            if MODE == "unhealthy":
                return self.answer(500, "the heart is broken")
            if MODE == "hang":
                time.sleep(3600)
            return self.answer(200, "ok")
        if MODE == "frail" and self.path == "/break":
            Handler.broken = True
            return self.answer(200, BODY)
        if MODE == "broken" or Handler.broken:
            return self.answer(500, "out of order")
        if self.path == "/env":
            return self.answer(200, json.dumps({k: v for k, v in os.environ.items() if k.startswith("WARD_")}))
        if self.path == "/client":
            return self.answer(200, repr(self.headers.get_all("ward-client-subject")))
        if self.path == "/slow":
            time.sleep(1)
            return self.answer(200, BODY)
        if self.path == "/die":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.path == "/events":
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("connection", "close")
            self.end_headers()
            self.close_connection = True
            for number in range(600):
                self.wfile.write(f"data: {number}\n\n".encode())
                self.wfile.flush()
                time.sleep(0.05)
            return None
        return self.answer(200, BODY)

    def do_POST(self):
        left = int(self.headers.get("content-length", 0))
        digest = hashlib.sha256()
        while left:
            data = self.rfile.read(min(left, 65536))
            if not data:
                return
            digest.update(data)
            left -= len(data)
        self.answer(200, digest.hexdigest())

    def log_message(self, form, *args):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


server = Server(("127.0.0.1", int(os.environ["PORT"])), Handler)
if MODE == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
else:
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
print(f"listening, {BODY}")
server.serve_forever()
print("goodbye")
