"""Repositories over HTTPS for those who have the token: git's own server behind TLS, and a place that leads away.

The folder holds `server.pem`, `server.key`, the repositories and `token` (USER:TOKEN, read for each request). What
clients at the other place prove themselves with is written to `given-away`.
"""

import base64
import os
import ssl
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

folder = sys.argv[1]


class Private(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def answer(self, status, headers, body=b""):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def serve(self):
        url = urlsplit(self.path)
        if url.path.startswith("/away/"):
            self.answer(302, [("Location", f"https://127.0.0.1:{elsewhere}{self.path[5:]}")])
            return
        with open(os.path.join(folder, "token"), "rb") as file:
            wanted = "Basic " + base64.b64encode(file.read().strip()).decode()
        if self.headers.get("Authorization") != wanted:
            self.answer(401, [("WWW-Authenticate", 'Basic realm="private"')])
            return
        length = int(self.headers.get("Content-Length", 0))
        told = {
            "GIT_PROJECT_ROOT": folder,
            "GIT_HTTP_EXPORT_ALL": "1",
            "REQUEST_METHOD": self.command,
            "PATH_INFO": url.path,
            "QUERY_STRING": url.query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(length),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "HTTP_GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
            "PATH": os.environ["PATH"],
        }
        done = subprocess.run(
            ["git", "http-backend"], input=self.rfile.read(length), env=told, capture_output=True
        )
        head, _, body = done.stdout.partition(b"\r\n\r\n")
        lines = [line.split(": ", 1) for line in head.decode().split("\r\n")]
        status = [value for name, value in lines if name == "Status"]
        self.answer(
            int(status[0].split()[0]) if status else 200,
            [(name, value) for name, value in lines if name != "Status"],
            body,
        )

    do_GET = serve
    do_POST = serve


class Elsewhere(Private):
    def serve(self):
        if given := self.headers.get("Authorization"):
            with open(os.path.join(folder, "given-away"), "a") as file:
                file.write(given + "\n")
        self.answer(401, [("WWW-Authenticate", 'Basic realm="elsewhere"')])

    do_GET = serve
    do_POST = serve


def listen(handler):
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(
        os.path.join(folder, "server.pem"), os.path.join(folder, "server.key")
    )
    server.socket = context.wrap_socket(server.socket, server_side=True)
    return server


other = listen(Elsewhere)
elsewhere = other.server_address[1]
threading.Thread(target=other.serve_forever, daemon=True).start()
private = listen(Private)
print(private.server_address[1], flush=True)
private.serve_forever()
