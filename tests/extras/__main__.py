"""Every extra in an environment that has only it: `make test-extras`.

    base       the distribution without extras; all others see its packages
    <extra>    an environment of its own with what the extra adds, and nothing of the other extras

A layer is honest: an environment finds what lies in itself and in the base, nothing else. It is
cheap: torch and its like are installed once. In each a real job runs (`jobs`). An extra without a
job fails, so who adds one says how it is tried. Needs a bare Python; what is installed stands in
pyproject.toml.
"""

from __future__ import annotations

import subprocess
import sys
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.extras.jobs import JOBS

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".venv" / "extras"
AT_ONCE = 2
"""Environments that are tried side by side."""
BASE = ""
"""The environment without an extra."""
ELSEWHERE = {"dev", "docs"}
"""Extras that other targets of the Makefile try: `make test` runs in both."""
BESIDE = {"torchvision"}
"""Packages whose wheels may want another build of torch than is there: they come without what they
depend on, into a folder of their name, where `tests.torchvision` finds them."""


def main() -> int:
    """Try every extra, or those that are named; the exit code counts those that failed."""
    extras: dict[str, list[str]] = read_extras()
    if strangers := sorted((set(extras) - ELSEWHERE).symmetric_difference(set(JOBS) - {BASE})):
        sys.stderr.write(
            f"{', '.join(strangers)}: an extra of pyproject.toml without a job in "
            "tests/extras/jobs.py, or a job without an extra: add the one or remove the other\n"
        )
        return 1
    wanted = sys.argv[1:] or [BASE, *(name for name in extras if name not in ELSEWHERE)]
    install(environment(FOLDER / "base"), ["--editable", str(ROOT)])
    with ThreadPoolExecutor(AT_ONCE) as threads:
        passed = list(threads.map(lambda name: is_tried(name, extras.get(name, [])), wanted))
    failed = [name for name, has_passed in zip(wanted, passed, strict=True) if not has_passed]
    for name in failed:
        sys.stderr.write(f"extra {name or 'none'} FAILED\n")
    return len(failed)


def read_extras() -> dict[str, list[str]]:
    """Return what each extra installs."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        return tomllib.load(file)["project"]["optional-dependencies"]


def is_tried(name: str, requirements: list[str]) -> bool:
    """Make the environment of an extra and run its job in it."""
    started = time.monotonic()
    python = base = environment(FOLDER / "base")
    if name != BASE:
        python = environment(FOLDER / name, above=base)
        beside = [one for one in requirements if package_of(one) in BESIDE]
        install(python, [one for one in requirements if one not in beside])
        for one in beside:
            target = FOLDER / name / package_of(one)
            install(python, [one], "--no-deps", "--upgrade", "--target", str(target))
    ready = time.monotonic()
    command = [str(python), "-c", f"from tests.extras.jobs import JOBS; JOBS[{name!r}]()"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.stderr.write(done.stdout + done.stderr)
    took = f"installed in {ready - started:.0f} s, tried in {time.monotonic() - ready:.0f} s"
    sys.stdout.write(f"extra {name or 'none':14} {took}\n")
    sys.stdout.flush()
    return done.returncode == 0


def environment(folder: Path, above: Path | None = None) -> Path:
    """Return the Python of an environment, made if need be; one with `above` sees its packages."""
    python = folder / "bin" / "python"
    if not python.exists():
        without_pip = ["--without-pip"] if above else []
        subprocess.run([sys.executable, "-m", "venv", *without_pip, str(folder)], check=True)
    if above:
        where = "import sysconfig; print(sysconfig.get_path('purelib'))"
        own, seen = (
            subprocess.run([one, "-c", where], capture_output=True, text=True, check=True).stdout
            for one in (python, above)
        )
        line = f"import site; site.addsitedir({seen.strip()!r})\n"  # with the base's own .pth files
        Path(own.strip(), "base.pth").write_text(line, "utf-8")
    return python


def install(python: Path, requirements: list[str], *options: str) -> None:
    """Install what is not there yet, in the versions that are tested together."""
    if requirements:
        pip = [str(FOLDER / "base" / "bin" / "python"), "-m", "pip", "--python", str(python)]
        common = ["--quiet", "--disable-pip-version-check", "--constraint", "constraints.txt"]
        common.append("--no-compile")  # most of what is installed is never imported
        subprocess.run([*pip, "install", *common, *options, *requirements], cwd=ROOT, check=True)


def package_of(requirement: str) -> str:
    """Return the name in a requirement such as `torchvision>=0.21`."""
    return requirement.split("[")[0].split(">")[0].split("=")[0].split("<")[0]


if __name__ == "__main__":
    sys.exit(main())
