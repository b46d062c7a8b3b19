"""Answers with a variable (`/var/NAME`), with a file and its mode (`/file/PATH`), with the kind of file system that a
path is on (`/kind/PATH`), and says a variable (`/say/NAME`)."""

import os
import signal
import stat
import subprocess
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        kind, _, rest = self.path[1:].partition("/")
        text = "ok"
        if kind == "var":
            text = os.environ.get(rest, "(none)")
        if kind == "file":
            path = "/" + rest
            mode = stat.S_IMODE(os.stat(path).st_mode)
            text = f"{mode:04o} {open(path).read()}"
        if kind == "kind":
            command = ["stat", "-f", "-c", "%T", "/" + rest]
            text = subprocess.run(command, capture_output=True, text=True).stdout
        if kind == "say":
            print("it is", os.environ.get(rest, "(none)"), flush=True)
        data = text.encode()
        self.send_response(200)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_POST(self):
        left = int(self.headers["content-length"])
        while left:
            left -= len(self.rfile.read(min(left, 65536)))
        self.do_GET()

    def log_message(self, *args):
        pass


if "STUBBORN" in os.environ:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("starts", flush=True)
ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
