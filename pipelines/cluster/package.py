"""What a job takes to the cluster: its config, the files that this names, folders of plugins.

    florilegium_job.yaml             the config: overrides and `--plan` are in it
    florilegium_job.py               starts the command (`launcher`)
    florilegium_plugins/0, 1, ...    folders of plugins, without what git ignores
    ...                              files that it names by a relative path, at the same path, and
                                     the images of the examples among them

Every process of the job starts in its node's copy of this folder, so relative paths lead to the
same files on all nodes. An absolute path is one that all nodes see: it stays as it is.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from florilegium.engine.core.counted import counted
from florilegium.engine.core.errors import ConfigError
from florilegium.engine.planning.config import SECTIONS, RunConfig
from florilegium.engine.untrusted.escaped import cut
from florilegium.pipelines.cluster import launcher
from florilegium.pipelines.cluster.code import code_of

CONFIG = "florilegium_job.yaml"
LAUNCHER = "florilegium_job.py"
MAX_BYTES = 100_000_000
"""Most bytes of a package: Ray keeps it in the memory of the head node."""
_PLUGINS = "florilegium_plugins"


@dataclass(frozen=True, kw_only=True)
class Part:
    """Files of a package that belong together; `name` is the local path that they come from."""

    name: str
    files: int
    bytes: int

    def __str__(self) -> str:
        return f"{self.name}: {counted(self.files, 'file')}, {_size(self.bytes)}"


@dataclass(frozen=True, kw_only=True)
class Package:
    """A folder that is ready to be sent. Equal files have an equal `digest`, wherever they came
    from."""

    folder: Path
    parts: tuple[Part, ...]
    digest: str


def pack(document: Mapping[str, Any], config: RunConfig, folder: Path) -> Package:
    """Write the package of a job into an empty folder; `config` is the validated `document`.

    Raises:
        ConfigError: a path of the config leads nowhere but on this machine, or the package is too
            large.
    """
    refuse_local_places(config)
    parts: list[Part] = []
    plugins: list[str] = []
    for number, name in enumerate(config.plugin_path):
        plugins.append(f"{_PLUGINS}/{number}")
        parts.append(_pack_code(name, folder / plugins[-1]))
    images = images_of_examples(config)
    parts += [
        _pack_files(value, (value, *images.get(value, ())), folder)
        for value in sorted({*named_files(config), *_takedown_list(config)})
    ]
    _refuse_large(parts)
    text = yaml.safe_dump(
        on_cluster(document, config, plugins), sort_keys=False, allow_unicode=True
    )
    (folder / CONFIG).write_text(text, encoding="utf-8")
    _copy(Path(launcher.__file__), folder / LAUNCHER)
    parts.insert(0, Part(name="config", files=1, bytes=len(text.encode())))
    return Package(folder=folder, parts=tuple(parts), digest=_digest(folder))


def on_cluster(
    document: Mapping[str, Any], config: RunConfig, plugins: list[str]
) -> dict[str, Any]:
    """Return a config as its job reads it: run by the Ray that the job is on."""
    runner = config.runner.model_dump(exclude_unset=True) | {"kind": "ray", "address": "auto"}
    moved = {**document, "runner": runner}
    return {**moved, "plugin_path": plugins} if plugins else moved


def refuse_local_places(config: RunConfig) -> None:
    """Refuse a source, an output or layers by a relative path: a job starts in another folder.

    Raises:
        ConfigError: with the key, the path and the cure.
    """
    places = [("source", source.url) for source in config.source]
    places += [("output", config.output), ("layers", config.layers or "")]
    for key, url in places:
        if url and "://" not in url and "::" not in url and not os.path.isabs(url):
            raise ConfigError(
                f"{key} = {cut(url)} is a path on this machine: give a URL (s3://...), or the "
                f"absolute path of a folder that all nodes mount, as --{key} or in the config"
            )


def named_files(config: RunConfig) -> Iterator[str]:
    """Yield the options of stages and of a refinement that are relative paths of files here.

    Raises:
        ConfigError: one leads out of this folder, or is a folder, such as a model's.
    """
    values = config.model_dump(include={*SECTIONS, "refine"})
    for section in values:
        for key, value in _texts(values[section], section):
            if os.path.isabs(value):
                continue
            if value.startswith("~/") or (value.startswith("../") and os.path.exists(value)):
                raise _outside(key, value)
            if "/" in value and os.path.isdir(value):
                raise ConfigError(
                    f"{key} = {cut(value)} is a folder on this machine, which is not sent: put it "
                    f"where all nodes mount it, and give its absolute path"
                )
            if os.path.isfile(value):
                yield value


def _takedown_list(config: RunConfig) -> Iterator[str]:
    """Yield the path of the takedown list, if it is a file here.

    Raises:
        ConfigError: it leads out of this folder, or is not there.
    """
    path = config.takedown
    if not path or "://" in path or os.path.isabs(path):
        return
    if path.startswith(("~", "../")):
        raise _outside("takedown", path)
    if not os.path.isfile(path):
        raise ConfigError(f"takedown = {cut(path)}: there is no such file")
    yield path


def _outside(key: str, path: str) -> ConfigError:
    return ConfigError(
        f"{key} = {cut(path)} leads out of this folder: put the file below it, or give the "
        f"absolute path of one that all nodes mount"
    )


def images_of_examples(config: RunConfig) -> dict[str, tuple[str, ...]]:
    """Return the paths of the images that files of examples name, by the path of the file.

    Raises:
        ConfigError: a file of examples, or an image of it, is missing or damaged.
    """
    from florilegium.specialists.online.examples import read_examples

    images: dict[str, tuple[str, ...]] = {}
    for name, options in config.specialists.items():
        path = options.get("examples")
        used = str(options.get("use", name))
        is_few_shot = used.endswith(("few_shot_caption", ":FewShotCaption"))
        if is_few_shot and isinstance(path, str) and not os.path.isabs(path):
            folder = os.path.dirname(path)
            above = Path(folder).resolve()
            found = {one.image.relative_to(above) for one in read_examples(path).examples}
            images[path] = tuple(sorted(os.path.join(folder, one) for one in found))
    return images


def _texts(value: Any, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _texts(inner, f"{key}.{name}")
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner, key)


def _pack_files(name: str, paths: Sequence[str], folder: Path) -> Part:
    for path in paths:
        _copy(Path(path), folder / path)
    size = sum(os.path.getsize(path) for path in paths)
    return Part(name=name, files=len(paths), bytes=size)


def _pack_code(name: str, target: Path) -> Part:
    folder = Path(os.path.abspath(os.path.expanduser(name)))
    if not folder.is_dir():
        raise ConfigError(f"plugin_path = {cut(name)}: there is no such folder")
    files = total = 0
    for path in code_of(folder):
        _copy(folder / path, target / path)
        files, total = files + 1, total + (folder / path).stat().st_size
        if total > MAX_BYTES:
            break
    if not files:
        raise ConfigError(f"plugin_path = {cut(name)}: the folder has no file that git would track")
    return Part(name=f"plugins of {name}", files=files, bytes=total)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _refuse_large(parts: list[Part]) -> None:
    if sum(part.bytes for part in parts) > MAX_BYTES:
        largest = max(parts, key=lambda part: part.bytes)
        raise ConfigError(
            f"the job would take more than {_size(MAX_BYTES)} with it, most of it {largest.name}: "
            f"list what it does not need in .gitignore, or install it on the nodes"
        )


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        data = path.read_bytes()
        digest.update(f"{path.relative_to(folder)}\0{len(data)}\0".encode() + data)
    return digest.hexdigest()


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 100_000 else f"{count / 1e3:.1f} kB"
