"""The server as a command: it answers until a signal ends it, which is no failure."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.request import HTTPCookieProcessor, build_opener

import pytest

pytest.importorskip("uvicorn")


def test_ctrl_c_is_the_regular_end_of_serve(run: Path) -> None:
    command = [sys.executable, "-m", "florilegium", "serve", str(run)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=os.environ) as server:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        with build_opener(HTTPCookieProcessor(CookieJar())).open(url) as answer:
            assert answer.status == 200
        server.send_signal(signal.SIGINT)
        _, notes = server.communicate(timeout=20)
    assert notes.splitlines()[-1] == "the server is stopped"
    assert "resume" not in notes, "there is nothing to resume"
    assert server.returncode == 0
