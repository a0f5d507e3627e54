"""Imports a file of another program: finds its images in the run, compares, stores corrections.

Nothing of the file is lost silently: what cannot be used is counted with its reason.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from florilegium.engine.core.counted import counted
from florilegium.engine.core.errors import ConfigError, UsageError
from florilegium.engine.results.dataset import Dataset
from florilegium.engine.results.dataset_sample import annotations_by_key
from florilegium.engine.results.shard_files import read_rows, read_sample_heads
from florilegium.engine.storage.folder import Folder
from florilegium.engine.storage.lease import writing
from florilegium.engine.untrusted.escaped import cut
from florilegium.pipelines.corrections.correction import Correction, is_name
from florilegium.pipelines.corrections.store import add_corrections
from florilegium.pipelines.imports.comparing import (
    UNKNOWN_ID,
    Compared,
    Subject,
    Told,
    compare,
    shown_in,
)
from florilegium.pipelines.imports.importer import Importer, ReturnedImage

UNKNOWN_IMAGE = "unknown_image"
OTHER_SIZE = "image_of_another_size"
REASONS = {
    UNKNOWN_IMAGE: "images that this run does not have",
    UNKNOWN_ID: "annotations that this run does not have: they are of an earlier version of it, "
    "export it again",
    OTHER_SIZE: "images of another size than in this run",
}
"""What is meant by a reason for which a part of a file is left out."""
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FINDINGS = ("confirmed", "changed", "added", "rejected")


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What was imported: images by people looked at, findings by kind, how many are new, and what
    was left out, by reason."""

    images: int
    findings: Mapping[str, int]
    new: int
    left_out: Mapping[str, int] = field(default_factory=dict)

    def summary(self) -> Iterator[str]:
        """Yield lines that count what was imported."""
        found = ", ".join(f"{self.findings.get(one, 0)} {one}" for one in _FINDINGS)
        yield f"{counted(self.images, 'image')}: {found}"
        yield f"{counted(self.new, 'new correction')}"

    def warnings(self) -> Iterator[str]:
        """Yield a line for each reason for which something was left out."""
        for reason, count in sorted(self.left_out.items()):
            yield f"left out {count}, {reason}: {REASONS.get(reason, 'not usable')}"


def import_corrections(
    output: Folder,
    path: Path,
    importer: Importer,
    *,
    who: str,
    when: str,
    exported: Path | None = None,
) -> Imported:
    """Store what people changed in a file of another program as corrections of a run.

    Args:
        who: the person, where the file does not name one.
        when: the time now, UTC, to the second: also where the file has none or a later one.
        exported: the file as it was exported, of a format that does not say what people were
            shown: what it has and `path` has not was rejected.

    Raises:
        ConfigError: the file cannot be read, or is of another run.
        UsageError: nobody is named, or the run is not finished.
        OutputInUse: another command writes the run.
    """
    images = _read(importer, path)
    before = {_name_of(one): one for one in _read(importer, exported)} if exported else {}
    if who and not is_name(who):
        raise UsageError(f"{who!r:.100} names nobody: give 1 to 200 printable characters by --who")
    told = Told(who=who, when=when, tool=importer.tool)
    if not who and (nameless := next((one for one in images if not one.who), None)):
        raise UsageError(
            f"{path} does not say who corrected {cut(nameless.name)}: give the name by --who"
        )
    left_out: Counter[str] = Counter()
    corrections: list[Correction] = []
    seen: set[str] = set()
    with writing(output):
        found = _subjects(Dataset.of(output), images)
        if images and not found:
            raise ConfigError(
                f"none of the {counted(len(images), 'image')} of {path} is in {output.url}: give "
                f"the run that it was exported from"
            )
        for number, image in enumerate(images):
            left_out.update(image.problems)
            subject = found.get(number)
            if subject is None:
                left_out[UNKNOWN_IMAGE] += 1
            elif image.size_wh not in ((0, 0), subject.size_wh):
                left_out[OTHER_SIZE] += 1
            else:
                if image.shown is None and (original := before.get(_name_of(image))):
                    image = replace(image, shown=shown_in(original, subject))
                compared = compare(image, subject, told)
                _add(compared, corrections, left_out)
                seen.add(subject.key)
        findings = Counter[str](one.finding for one in corrections)
        if left_out[UNKNOWN_ID] and not findings.keys() - {"added"}:
            raise ConfigError(
                f"{output.url} has none of the annotations that {path} is about: it was exported "
                f"from another run, or before the stages of this one changed. Export this run, and "
                f"correct that"
            )
        new = add_corrections(output, corrections)
    return Imported(images=len(seen), findings=findings, new=len(new), left_out=dict(+left_out))


def _add(compared: Compared, corrections: list[Correction], left_out: Counter[str]) -> None:
    corrections += compared.corrections
    left_out.update(compared.left_out)


def _read(importer: Importer, path: Path) -> list[ReturnedImage]:
    try:
        images = list(importer.read(path))
        return [one if is_name(one.who) else replace(one, who="") for one in images]
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be imported as {importer.tool}: {error}") from error
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or error}") from error


def _subjects(dataset: Dataset, images: Sequence[ReturnedImage]) -> dict[int, Subject]:
    """Return the images of the run that a file has, by their place in the file."""
    places: dict[str, list[int]] = {}
    for number, image in enumerate(images):
        places.setdefault(_name_of(image), []).append(number)
    found: dict[int, Subject] = {}
    for shard in dataset.shards:
        heads = [
            (head, wanted)
            for head in read_sample_heads(dataset.folder, shard)
            if (wanted := [*places.get(head["sha256"], ()), *places.get(head["key"], ())])
        ]
        if not heads:
            continue
        rows = read_rows(dataset.folder, shard)
        annotations = annotations_by_key(rows)
        kept = annotations_by_key(rows.filter(rows["kept"]))
        for head, wanted in heads:
            own = {one.id: one for one in annotations.get(head["key"], ())}
            subject = Subject(
                key=head["key"],
                sha256=head["sha256"],
                size_wh=(head["width"], head["height"]),
                annotations=own,
                kept=frozenset(one.id for one in kept.get(head["key"], ())),
            )
            for number in wanted:
                _choose(found, number, subject, images[number])
    return found


def _choose(found: dict[int, Subject], number: int, subject: Subject, image: ReturnedImage) -> None:
    """Take an image of the run for one of the file: of copies of one image, that with its key."""
    if number not in found or subject.key == image.key:
        found[number] = subject


def _name_of(image: ReturnedImage) -> str:
    """Return what an image may be found by: its digest, else its key, else the name of its file.

    A name that an export gave is the digest.
    """
    stem = PurePosixPath(image.name.replace("\\", "/")).stem
    digest = image.sha256 or (stem if _SHA256.fullmatch(stem) else "")
    return digest or image.key or stem
