# Asks another service over a link, and passes its answer on as it is; without one it answers itself.
import http.client
import os
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TO = os.environ.get("TO", "")
BODY = os.environ.get("ANSWER", "hello")

if os.environ.get("MODE") == "exit":
    sys.exit(3)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # As long as its client's connection is kept, so is the one over the link.
    link = None

    def answer(self, status, data):
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def ask(self, body=None):
        if self.link is None:
            self.link = http.client.HTTPConnection(TO, timeout=40)
        try:
            self.link.request(self.command, self.path, body)
            response = self.link.getresponse()
            return self.answer(response.status, response.read())
        except (OSError, http.client.HTTPException) as error:
            self.link = None
            return self.answer(599, repr(error).encode())

    def do_GET(self):
        if self.path == "/healthz":
            return self.answer(200, b"ok")
        if TO:
            return self.ask()
        if self.path == "/who":
            return self.answer(200, (self.headers.get("ward-from-env") or "nobody").encode())
        return self.answer(200, BODY.encode())

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if TO:
            return self.ask(body)
        return self.answer(200, str(len(body)).encode())

    def log_message(self, form, *args):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


server = Server(("127.0.0.1", int(os.environ["PORT"])), Handler)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever()
