"""Stands in for podman: runs a container's command on this machine. Its `python` is that of the
folder `inside` beside this file, as an image has its own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

WITH_VALUE = ("-v", "--env", "--entrypoint")


def main(arguments: list[str]) -> None:
    """Run `podman run OPTIONS IMAGE COMMAND...`."""
    assert arguments.pop(0) == "run"
    mounted, command = "/shared", []
    while arguments[0].startswith("-"):
        option = arguments.pop(0)
        value = arguments.pop(0) if option in WITH_VALUE else ""
        if option == "-v" and ":/shared" in value:
            mounted = value.partition(":")[0]
        if option == "--env":
            name, _, text = value.partition("=")
            os.environ[name] = text
        if option == "--entrypoint":
            command = [value]
    assert arguments.pop(0) == "florilegium:cpu"
    command += [one.replace("/shared", mounted) for one in arguments]
    os.environ["PATH"] = f"{Path(__file__).with_name('inside')}:/usr/bin:/bin"
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
