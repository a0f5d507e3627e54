"""Writes the package of a new plugin from templates.

    templates/common/    what all kinds have: pyproject.toml, README.md
    templates/KIND/      the plugin, its test, and what the test needs

Of a path in the templates, `MODULE` becomes the name of the plugin's module and `dot_` a dot. A
file that ends with `.j2` is filled in, any other copied.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from florilegium.engine.core.errors import UsageError
from florilegium.pipelines.scaffold.kind import Kind
from florilegium.pipelines.scaffold.names import Names

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"
_COMMON = "common"
_TEMPLATE = ".j2"
_MODULE = "MODULE"
_DOT = "dot_"
_COMMANDS = {
    Kind.SPECIALIST: "florilegium build quickstart --set 'specialists.NAME={}' --output out/NAME",
    Kind.FILTER: "florilegium build quickstart --set 'filters.NAME={}' --output out/NAME",
    Kind.SAMPLE_FILTER: (
        "florilegium build quickstart --set 'sample_filters.NAME={}' --output out/NAME"
    ),
    Kind.SOURCE: (
        "florilegium build quickstart --set 'source={kind: NAME, url: photos/photos.csv}' "
        "--output out/NAME"
    ),
    Kind.EXPORTER: (
        "florilegium build quickstart && "
        "florilegium export out/quickstart --format NAME --output out/NAME"
    ),
}
"""What shows a plugin at work, in the folder of its package."""


def write_package(names: Names, folder: Path) -> None:
    """Write the package of a plugin into a new folder, which appears when it is complete.

    Raises:
        UsageError: the folder exists and is not empty, or there cannot be one.
    """
    folder = Path(os.path.abspath(folder))  # without `..`, and links stay
    if os.path.lexists(folder) and not _is_empty_folder(folder):
        raise UsageError(f"{folder} exists: choose another --output, or remove it")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{folder.parent} cannot be made ({error.strerror}): choose another --output"
        ) from error
    with TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as beside:
        package = Path(beside) / folder.name
        for path, content in files_of(names):
            (package / path).parent.mkdir(parents=True, exist_ok=True)
            (package / path).write_bytes(content)
        if folder.is_dir():  # it stays the same folder, as it may be the current one
            for made in package.iterdir():
                os.replace(made, folder / made.name)
        else:
            os.replace(package, folder)


def command_of(names: Names) -> str:
    """Return the command line that shows a plugin at work, in the folder of its package."""
    return _COMMANDS[names.kind].replace("NAME", names.module)


def files_of(names: Names) -> Iterator[tuple[str, bytes]]:
    """Yield the path and the content of each file of a plugin's package."""
    environment = _environment()
    values = {
        "name": names.distribution,
        "module": names.module,
        "class": names.class_name,
        "kind": names.kind,
        "a_kind": a_kind(names.kind),
        "group": names.group,
        "florilegium": requirement(version("florilegium")),
        "command": command_of(names),
    }
    for part in (_COMMON, names.kind):
        for source in sorted(TEMPLATES.joinpath(part).rglob("*")):
            if not source.is_file():
                continue
            content = source.read_bytes()
            if source.suffix == _TEMPLATE:
                content = environment.from_string(content.decode()).render(values).encode()
            path = source.relative_to(TEMPLATES / part).as_posix().removesuffix(_TEMPLATE)
            yield path.replace(_MODULE, names.module).replace(_DOT, "."), content


def a_kind(kind: Kind) -> str:
    """Return the name of a kind with its article."""
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind.replace('_', ' ')}"


def requirement(installed: str) -> str:
    """Return the versions of this distribution whose API is the installed one's: up to the next
    minor version before 1.0, and up to the next major version from then on."""
    major, minor, *_ = (int(part) for part in installed.split(".")[:2])
    following = f"{major + 1}" if major else f"0.{minor + 1}"
    return f"florilegium>={major}.{minor},<{following}"


def _environment() -> Environment:
    from jinja2 import Environment, StrictUndefined

    return Environment(
        undefined=StrictUndefined, keep_trailing_newline=True, trim_blocks=True, lstrip_blocks=True
    )


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and not any(path.iterdir())
