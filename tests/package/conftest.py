"""A wheel and a source distribution, built from a copy of the checkout, and an installation."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import ROOT

FOLDERS = ("engine", "pipelines", "specialists", "configs")
"""What the package has as links in a checkout."""
_BUILT_FROM = ("florilegium", *FOLDERS, "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE")
_NO_INDEX = ("--no-deps", "--no-build-isolation", "--no-index", "--quiet")
_PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@dataclass(frozen=True, kw_only=True)
class Built:
    """Paths of what was built: by `python -m build` (the wheel from the source distribution), and
    by `pip wheel` from the checkout."""

    sdist: Path
    wheel: Path
    wheel_of_checkout: Path


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout, as a build leaves files in it; links are links."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in _BUILT_FROM:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=ignored)
        else:
            shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="session")
def built(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Both distributions, built without a network."""
    whole, alone = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("alone")
    _run(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(whole), str(checkout))
    _run(*_PIP, "wheel", *_NO_INDEX, "--wheel-dir", str(alone), str(checkout))
    (sdist,), (wheel,), (other,) = whole.glob("*.tar.gz"), whole.glob("*.whl"), alone.glob("*.whl")
    return Built(sdist=sdist, wheel=wheel, wheel_of_checkout=other)


@pytest.fixture(scope="session")
def environment(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel. It sees what the wheel depends on in the environment of the
    tests, but none of the .pth files there, one of which leads to the checkout."""
    folder = tmp_path_factory.mktemp("environment")
    _run(sys.executable, "-m", "venv", "--without-pip", str(folder))
    python = str(folder / "bin" / "python")
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    own = Path(_run(python, "-c", where).strip())
    (own / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n", "utf-8")
    _run(*_PIP, "--python", python, "install", *_NO_INDEX, "--no-compile", str(built.wheel))
    return folder


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with packages that are called as the folders of the checkout; to import them is an
    error."""
    folder = tmp_path_factory.mktemp("project")
    for name in FOLDERS:
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(f"raise ImportError('{name} of the project')\n")
    (folder / "configs" / "blacklist.txt").write_text("circle\nsquare\ntriangle\nstar\n", "utf-8")
    return folder


@pytest.fixture
def run(environment: Path, project: Path) -> Command:
    """Run a program of the environment in the project, which is on the path, too."""

    def call(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        path = f"{environment / 'bin'}:/usr/bin:/bin"
        return subprocess.run(
            [str(environment / "bin" / program), *map(str, arguments)],
            cwd=project,
            env={"PATH": path, "PYTHONPATH": str(project), "HF_HUB_OFFLINE": "1"},
            capture_output=True,
            text=True,
        )

    return call


def _run(*command: str) -> str:
    """Run a command outside of the checkout and return what it prints."""
    done = subprocess.run(command, cwd="/", env={}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
