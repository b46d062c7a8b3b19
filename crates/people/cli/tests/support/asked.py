"""Answers with a variable (`/var/NAME`), with a file and its mode (`/file/PATH`), with the kind of file system that a
path is on (`/kind/PATH`), and says a variable (`/say/NAME`)."""

import os
import signal
import stat
import subprocess

from answering import Answering, serve


class Asked(Answering):
    def said(self):
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
        return 200, text


if "STUBBORN" in os.environ:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("starts", flush=True)
serve(Asked)
