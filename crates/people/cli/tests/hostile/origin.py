# An origin that tells what it saw: an HTTP server on Python's standard library. As `nginx` or `haproxy` it stands
# behind one of these, which then is the parser that is tried, and tells what that one passed on or refused.
#
# `GET /seen/N` gives a JSON object a line for each request but the first N.
import json
import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT = int(os.environ["PORT"])
KIND = sys.argv[1]
BEHIND = PORT + 1
records = []
lock = threading.Lock()
connections = 0


def record(**what):
    line = json.dumps(what)
    with lock:
        records.append(line)


class Torn(Exception):
    pass


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self):
        global connections
        with lock:
            connections += 1
            self.number = connections
        super().setup()

    def __getattr__(self, name):
        # Whatever method it is.
        if name.startswith("do_"):
            return self.serve
        raise AttributeError(name)

    def serve(self):
        target = self.requestline.split()[1]
        if target == "/healthz":
            return self.answer("ok", "-")
        if target.startswith("/seen/"):
            with lock:
                text = "\n".join(records[int(target[6:]):])
            return self.answer(text, "-")
        items = [[name, value] for name, value in self.headers.raw_items()]
        named = {name.lower(): value for name, value in items}
        method, number = self.command, str(self.number)
        if KIND != "python":
            # What the parser in front of this one read.
            number = named.get("x-conn", "?")
            method, _, target = named.get("x-parsed", "").partition(" ")
            # HAProxy takes HTTP/2 too, which it writes so.
            target = target.removeprefix("http://" + named.get("host", ""))
        whole, body = True, bytearray()
        try:
            self.read_body(body)
        except (Torn, ValueError):
            whole = False
        ident = named.get("x-request-id", "-")
        record(conn=number, method=method, target=target, headers=items, body=body.hex(), whole=whole)
        if not whole:
            self.close_connection = True
            return None
        return self.answer(f"{ident} {target}", ident)

    def read_body(self, body):
        codings = self.headers.get_all("transfer-encoding")
        length = self.headers.get("content-length")
        if codings:
            while True:
                size = int(self.line().split(b";")[0], 16)
                if size == 0:
                    break
                self.exactly(size, body)
                self.line()
            while self.line() not in (b"\r\n", b"\n"):
                pass
        elif length is not None:
            self.exactly(int(length), body)

    def line(self):
        line = self.rfile.readline(65537)
        if not line.endswith(b"\n"):
            raise Torn()
        return line

    def exactly(self, size, body):
        data = self.rfile.read(size)
        body += data
        if len(data) != size:
            raise Torn()

    def answer(self, text, ident):
        data = text.encode("latin-1", "replace")
        head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(data)}\r\nx-seen: {ident}\r\n\r\n"
        if self.command == "HEAD":
            data = b""
        self.wfile.write(head.encode("latin-1", "replace") + data)

    def send_error(self, code, message=None, explain=None):
        raw = self.raw_requestline.decode("latin-1")
        record(conn=str(self.number), refused=f"{int(code)} {message}", raw=raw)
        self.close_connection = True
        self.wfile.write(f"HTTP/1.1 {int(code)} No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())

    def log_message(self, form, *args):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024


NGINX = f"""
user root; daemon off; master_process off; pid /tmp/nginx.pid; error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
  client_body_temp_path /tmp/b; proxy_temp_path /tmp/p; fastcgi_temp_path /tmp/f; uwsgi_temp_path /tmp/u;
  scgi_temp_path /tmp/s;
  underscores_in_headers on; ignore_invalid_headers off; merge_slashes off; large_client_header_buffers 4 64k;
  keepalive_requests 1000000; keepalive_timeout 600s; server_tokens off;
  map $upstream_addr $refused {{ "" 1; default 0; }}
  log_format seen escape=default '$connection $status "$http_x_request_id" "$request"';
  access_log /dev/stdout seen if=$refused;
  upstream behind {{ server 127.0.0.1:{BEHIND}; keepalive 64; keepalive_requests 1000000; }}
  server {{
    listen 127.0.0.1:{PORT};
    location / {{ proxy_pass http://behind; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host $http_host; proxy_set_header x-conn $connection;
      proxy_set_header x-parsed "$request_method $request_uri"; }}
  }}
}}
"""

HAPROXY = f"""
global
  maxconn 4000
  tune.bufsize 131072
  log stdout format raw local0 info
defaults
  mode http
  timeout connect 5s
  timeout client 600s
  timeout server 600s
  timeout http-keep-alive 600s
frontend front
  bind 127.0.0.1:{PORT}
  log global
  capture request header x-request-id len 128
  log-format '%cp %ST "%[capture.req.hdr(0)]" "%s %HM %HU"'
  http-request set-header x-conn %[src_port]
  http-request set-header x-parsed "%[method] %[url]"
  default_backend behind
backend behind
  http-reuse always
  server one 127.0.0.1:{BEHIND}
"""

FORM = re.compile(r'(\S+) (\S+) "([^"]*)" "(.*)"$', re.S)


def front(program, configuration, *arguments):
    with open("/tmp/front.conf", "w") as file:
        file.write(configuration)
    child = subprocess.Popen(
        [program, *arguments, "/tmp/front.conf"], stdout=subprocess.PIPE, encoding="latin-1", errors="replace"
    )
    for line in child.stdout:
        found = FORM.match(line.rstrip("\n"))
        if not found:
            print(line, end="", file=sys.stderr)
            continue
        number, status, ident, rest = found.groups()
        # HAProxy logs also what it passed on, with the name of the server.
        if not rest.startswith("one "):
            record(conn=number, refused=status, id=ident, raw=rest)
    print(f"{program} ended: {child.wait()}", file=sys.stderr)
    os._exit(1)


server = Server(("127.0.0.1", PORT if KIND == "python" else BEHIND), Handler)
if KIND == "nginx":
    threading.Thread(target=front, args=("/usr/sbin/nginx", NGINX, "-e", "stderr", "-c"), daemon=True).start()
if KIND == "haproxy":
    threading.Thread(target=front, args=("/usr/sbin/haproxy", HAPROXY, "-db", "-f"), daemon=True).start()
server.serve_forever()
