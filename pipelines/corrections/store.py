"""The corrections of a run: files that are only added, each named by the digest of its content.

    OUTPUT/corrections/9f2c....jsonl    one import or one audit: a line for each correction

Whatever the order in which they were added, they mean the same: later corrections of an annotation
win by their time. A takedown alone removes lines.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from hashlib import sha256

from florilegium.engine.core.sample import digest_of
from florilegium.engine.storage.documents import damaged, parse_json, read_limited
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.corrections.correction import Correction, parse_correction

CORRECTIONS = "corrections"
"""The folder of corrections within the output of a run."""
_FILE = re.compile(r"[0-9a-f]{32}\.jsonl")
_CURE = "restore it from a copy, or delete it: then what it has does not count"


def add_corrections(output: Folder, corrections: Iterable[Correction]) -> list[Correction]:
    """Store corrections in the folder of a run; return those that are new.

    What the correction of an annotation before it says already is not stored again, nor what was
    added already, so an import may be repeated. Nothing is written where nothing is new.

    Raises:
        ValueError: one is malformed.
        StorageError: a stored file is damaged, or the folder cannot be written.
    """
    given = list(corrections)
    for one in given:
        if problem := one.problem():
            raise ValueError(f"{one.key}: {problem}")
    stored = read_corrections(folder_of(output))
    known = {one.id for one in stored}
    last = {_subject(one): one.meaning for one in stored if one.finding == "added"}
    new: list[Correction] = []
    for one in sorted([*stored, *given], key=_order):  # an older one may come later
        if one.id not in known and last.get(_subject(one)) != one.meaning:
            known.add(one.id)
            new.append(one)
        last[_subject(one)] = one.meaning
    if new:
        _publish(output, new)
    return new


def folder_of(output: Folder) -> Folder:
    """Return the folder of the corrections of a run."""
    return Folder(f"{output.url}/{CORRECTIONS}")


def has_corrections(output: Folder) -> bool:
    """Whether a run has any."""
    return bool(file_names(folder_of(output)))


def read_corrections(folder: Folder) -> list[Correction]:
    """Return all corrections of a folder, each once, the earliest first.

    Raises:
        StorageError: a file is damaged.
    """
    found = {one.id: one for name in file_names(folder) for one in _read(folder, name)}
    return sorted(found.values(), key=_order)


def digest_of_corrections(corrections: Iterable[Correction]) -> str:
    """Return a digest of corrections, whichever files they are in; empty without any."""
    ids = sorted(one.id for one in corrections)
    return digest_of(ids)[:16] if ids else ""


def file_names(folder: Folder) -> list[str]:
    """Return the names of the files of corrections in a folder, sorted."""
    return [name for name in folder.names() if _FILE.fullmatch(name)]


def problems_of(output: Folder) -> Iterator[str]:
    """Yield what is wrong with the files of a run's corrections."""
    folder = folder_of(output)
    for name in folder.names():
        if not _FILE.fullmatch(name):
            yield f"{CORRECTIONS}/{name} is no file of corrections"
            continue
        data = folder.read(name) or b""
        if name != _name_of(data):
            yield f"{CORRECTIONS}/{name} was changed after it was written: its digest differs"
        for number, line in enumerate(data.splitlines(), start=1):
            try:
                parse_correction(line)
            except ValueError as error:
                yield f"{CORRECTIONS}/{name}, line {number}: {error}"


def strip_corrections(
    output: Folder, keys: Collection[str], digests: Collection[str] = (), *, is_dry: bool = False
) -> int:
    """Remove the corrections about images with these keys or SHA-256 digests; return their number,
    with `is_dry` only that. A line that cannot be read is kept.

    Raises:
        StorageError: a file cannot be read or written.
    """
    if not (keys or digests):
        return 0
    folder, removed = folder_of(output), 0
    for name in file_names(folder):
        lines = (folder.read(name) or b"").splitlines(keepends=True)
        kept = [line for line in lines if not _is_about(line, keys, digests)]
        removed += len(lines) - len(kept)
        if len(kept) < len(lines) and not is_dry:
            if kept:
                data = b"".join(kept)
                folder.publish(_name_of(data), data)
            folder.remove(name)
    return removed


def _is_about(line: bytes, keys: Collection[str], digests: Collection[str]) -> bool:
    try:
        row = parse_json(line)
    except ValueError:
        return False
    return isinstance(row, Mapping) and (row.get("key") in keys or row.get("sha256") in digests)


def _publish(output: Folder, corrections: Iterable[Correction]) -> None:
    data = b"".join(one.to_line() for one in corrections)
    output.publish(f"{CORRECTIONS}/{_name_of(data)}", data)


def _read(folder: Folder, name: str) -> Iterator[Correction]:
    data = read_limited(folder, name, cure=_CURE) or b""
    for number, line in enumerate(data.splitlines(), start=1):
        try:
            yield parse_correction(line)
        except ValueError as error:
            raise damaged(folder, name, f"line {number}: {error}", cure=_CURE) from error


def _name_of(data: bytes) -> str:
    return f"{sha256(data).hexdigest()[:32]}.jsonl"


def _order(one: Correction) -> tuple[str, str]:
    return one.when, one.id


def _subject(one: Correction) -> tuple[str, str]:
    """Return what a correction is about: an annotation, or what was added."""
    return one.sha256, one.about.id if one.about else one.meaning
