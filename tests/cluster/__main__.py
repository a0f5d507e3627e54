"""Runs these tests with the extra `cluster`, in an environment above that of the other tests."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.extras.__main__ import ROOT, environment, read_extras


def main() -> int:
    """Install the extra and run the tests; return their exit code."""
    python = environment(ROOT / ".venv" / "cluster", above=ROOT / ".venv" / "bin" / "python")
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    options = ["--disable-pip-version-check", "--constraint", "constraints.txt"]
    subprocess.run([*pip, *options, *read_extras()["cluster"]], cwd=ROOT, check=True)
    tests = [str(python), "-m", "pytest", "tests/cluster", *sys.argv[1:]]
    return subprocess.run(tests, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}).returncode


if __name__ == "__main__":
    sys.exit(main())
