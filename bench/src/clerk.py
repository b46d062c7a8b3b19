"""A small application in Python's own HTTP server, as many small teams run one.

It says in each answer which mark it was deployed with. With FAILS_AFTER it fails every request, but for
its health check, so many seconds after it started.
"""

import http.server
import os
import signal
import time

PAGE = b"well\n" * 100
MARK = os.environ["MARK"]
FAILS_AT = time.monotonic() + float(os.environ.get("FAILS_AFTER", "inf"))


class Answers(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        fails = self.path != "/healthz" and time.monotonic() > FAILS_AT
        self.send_response(500 if fails else 200)
        self.send_header("content-length", str(len(PAGE)))
        self.send_header("mark", MARK)
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
Server(("", 8000), Answers).serve_forever()
