"""A Jupyter server of its own for a test, with settings of its own."""

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from socket import socket

BIN = Path(sys.executable).parent
TOKEN = "test"


def answers(port):
    with socket() as tried:
        return not tried.connect_ex(("127.0.0.1", port))


@contextmanager
def serving(home, program, *arguments):
    """Start a program of this environment in a folder, where its settings are too; gives its address."""
    folders = {f"JUPYTER_{name}_DIR": str(home / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    command = [BIN / program, *arguments, "--allow-root", "--ServerApp.port=0", f"--IdentityProvider.token={TOKEN}"]
    with (home / "log").open("w") as log:
        server = subprocess.Popen(command, cwd=home, stdout=log, stderr=log,
                                  env=os.environ | folders | {"IPYTHONDIR": str(home / "ipython")})  # fmt: skip
    try:
        while not (files := [file for file in home.glob("runtime/jpserver-*[0-9].json") if file.stat().st_size]):
            assert server.poll() is None, (home / "log").read_text("utf-8")
            time.sleep(0.1)
        port = json.loads(files[0].read_text("utf-8"))["port"]
        while not answers(port):  # the file is there a moment before
            assert server.poll() is None, (home / "log").read_text("utf-8")
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()
