# Each request is a session of its own in the database, so that each needs a password that is valid. What is spoken is
# PostgreSQL's protocol 3.0, with SCRAM-SHA-256 (RFC 7677): a process for each session would be slower than the session.
import base64
import hashlib
import hmac
import os
import secrets
import socket
import struct
import subprocess

from answering import Answering, serve

SQL = "insert into hit values (1); select count(*), current_user, session_user from hit"


class Refused(Exception):
    pass


class Session:
    def __init__(self):
        address = (os.environ["PGHOST"], int(os.environ["PGPORT"]))
        self.socket = socket.create_connection(address, timeout=30)
        self.bytes = self.socket.makefile("rb")
        parameters = {"user": os.environ["PGUSER"], "database": os.environ["PGDATABASE"]}
        body = struct.pack("!I", 196608)
        for name, value in parameters.items():
            body += name.encode() + b"\0" + value.encode() + b"\0"
        self.say(b"", body + b"\0")
        self.authenticate()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.say(b"X", b"")
        self.bytes.close()
        self.socket.close()

    def say(self, kind, body):
        self.socket.sendall(kind + struct.pack("!I", len(body) + 4) + body)

    def heard(self):
        head = self.bytes.read(5)
        if len(head) < 5:
            raise Refused("the database has closed the connection")
        body = self.bytes.read(struct.unpack("!I", head[1:])[0] - 4)
        if head[:1] == b"E":
            fields = body.split(b"\0")
            raise Refused(" ".join(field[1:].decode() for field in fields if field[:1] in (b"S", b"C", b"M")))
        return head[:1], body

    def authenticate(self):
        password = os.environ["PGPASSWORD"].encode()
        first = "n=,r=" + secrets.token_urlsafe(18)
        while True:
            kind, body = self.heard()
            if kind == b"Z":
                return
            step = struct.unpack("!I", body[:4])[0] if kind == b"R" else None
            if step == 10:
                answer = b"n,," + first.encode()
                self.say(b"p", b"SCRAM-SHA-256\0" + struct.pack("!I", len(answer)) + answer)
            elif step == 11:
                self.say(b"p", proof(password, first, body[4:].decode()))
            elif step not in (None, 0, 12):
                raise Refused(f"authentication {step} is asked for")

    def rows(self, sql):
        self.say(b"Q", sql.encode() + b"\0")
        text = ""
        while True:
            kind, body = self.heard()
            if kind == b"Z":
                return text
            if kind == b"D":
                text += "|".join(columns(body)) + "\n"


def columns(body):
    count, at = struct.unpack("!H", body[:2])[0], 2
    for _ in range(count):
        length = struct.unpack("!i", body[at:at + 4])[0]
        yield body[at + 4:at + 4 + max(length, 0)].decode()
        at += 4 + max(length, 0)


def proof(password, first, challenge):
    said = dict(part.split("=", 1) for part in challenge.split(","))
    salt = base64.b64decode(said["s"])
    salted = hashlib.pbkdf2_hmac("sha256", password, salt, int(said["i"]))
    client = hmac.digest(salted, b"Client Key", "sha256")
    bare = "c=biws,r=" + said["r"]
    signed = ",".join([first, challenge, bare]).encode()
    signature = hmac.digest(hashlib.sha256(client).digest(), signed, "sha256")
    own = bytes(one ^ other for one, other in zip(client, signature))
    return f"{bare},p={base64.b64encode(own).decode()}".encode()


class Counts(Answering):
    def said(self):
        status, text = 200, "ok"
        if self.path != "/healthz":
            try:
                with Session() as session:
                    text = session.rows(SQL)
            except (Refused, OSError) as error:
                status, text = 500, str(error)
                print(text, flush=True)
        return status, text


subprocess.run(["psql", "-qAtX", "-c", "create table if not exists hit (n int)"])
serve(Counts)
