"""Examples for a few-shot annotator: audited captions of a finished dataset with their images.

    OUTPUT/examples.jsonl   {"image": "images/9f2c....png", "task": "caption", "text": "A cat"}
    OUTPUT/images/          each image once, as it is, named by its digest

The audit decides which captions are right. Images keep their bytes, so that an annotator
recognises one that is among its examples.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import ClassVar

from pydantic import BaseModel, Field

from florilegium.engine.core.annotation import SOURCE
from florilegium.engine.core.counted import counted
from florilegium.engine.core.errors import UsageError
from florilegium.engine.core.image.reading import read_header
from florilegium.engine.core.rank import rows_of_source
from florilegium.engine.core.tasks import CAPTION_TASKS
from florilegium.engine.results.dataset_sample import read_samples
from florilegium.engine.results.shard_files import Wanted
from florilegium.pipelines.export.exporter import ExportConfig, Exported, Exporter
from florilegium.pipelines.export.selected import SelectedDataset
from florilegium.pipelines.merge.learning.audit import Audit, read_audit
from florilegium.specialists.online.examples import MAX_BYTES, MAX_CHARACTERS

EXAMPLES = "examples.jsonl"
IMAGES = "images"
_COLUMNS = ("id", "key", "task", "text", "kept", "merged_from", "specialist")


@dataclass(frozen=True, kw_only=True, order=True)
class Choice:
    """A right caption and where it is stored; those of the source sort first, then they sort by a
    digest of the caption's id."""

    is_of_machine: bool
    digest: str
    task: str
    shard: str
    key: str
    text: str


class FewShotConfig(ExportConfig):
    """Which captions become examples."""

    audit: str
    """Path of an audit, a file of `{"id": ..., "right": true}` lines."""
    per_task: int = Field(default=16, ge=1)
    """Examples of each task at most."""


@dataclass(frozen=True, kw_only=True)
class FewShotExported(Exported):
    """How many examples there are of each task."""

    tasks: Mapping[str, int]

    def summary(self) -> Iterator[str]:
        """Yield a line for each task."""
        for task, count in self.tasks.items():
            yield f"{task:22} {counted(count, 'example')}"

    def warnings(self) -> Iterator[str]:
        """Yield nothing: examples are a selection by design."""
        return iter(())


class FewShotExporter(Exporter[FewShotConfig, FewShotExported]):
    """Writes captions that are right by an audit, at most `per_task` of a task and one per image.

    Captions of the source are chosen first; else the choice depends on the captions' ids only.
    Captions that a filter dropped, and images too large for an example, are left out.
    """

    Config: ClassVar[type[BaseModel]] = FewShotConfig
    supports: ClassVar[frozenset[str]] = frozenset()  # the audit selects

    def write(self, dataset: SelectedDataset, output: Path) -> FewShotExported:
        """Write the examples and their images.

        Raises:
            UsageError: no caption is right by the audit.
            ConfigError: the audit cannot be read, or is of another dataset.
        """
        right = _right_captions(dataset, read_audit(self.config.audit))
        rows = _with_images(dataset, _chosen(right, self.config.per_task), output)
        if not rows:
            raise UsageError(
                f"the audit {self.config.audit} finds no caption right that is kept in "
                f"{dataset.url}: audit some ({', '.join(CAPTION_TASKS)})"
            )
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (output / EXAMPLES).write_text(lines, encoding="utf-8")
        return FewShotExported(tasks=Counter(row["task"] for row in rows))


def _right_captions(dataset: SelectedDataset, audit: Audit) -> list[Choice]:
    """Return all kept captions that are right; one merged from a right caption is right, too."""
    right: list[Choice] = []
    known: set[str] = set()
    found = dataset.select(verdict="all")
    for shard, table in zip(found.shards, found.tables(_COLUMNS), strict=True):
        names, keys, tasks, texts, is_kept, merged, specialists = (
            table.column(name).to_pylist() for name in _COLUMNS
        )
        rows = list(zip(names, texts, specialists, strict=True))
        labels = {one: text for one, text, specialist in rows if specialist == SOURCE}
        of_source = rows_of_source(zip(specialists, texts, merged, strict=True), labels).tolist()
        columns = (names, keys, tasks, texts, is_kept, merged, of_source)
        for name, key, task, text, kept, voters, human in zip(*columns, strict=True):
            known.add(name)
            is_usable = kept and task in CAPTION_TASKS and 0 < len(text) <= MAX_CHARACTERS
            is_right = any(audit.right.get(one) for one in voters)
            if is_usable and audit.right.get(name, is_right):
                right.append(
                    Choice(
                        is_of_machine=not human,
                        digest=blake2b(name.encode(), digest_size=8).hexdigest(),
                        task=task,
                        shard=shard,
                        key=key,
                        text=text,
                    )
                )
    audit.check(known)
    return right


def _chosen(right: Sequence[Choice], per_task: int) -> list[Choice]:
    chosen: dict[str, dict[tuple[str, str], Choice]] = defaultdict(dict)
    for one in sorted(right):
        if len(chosen[one.task]) < per_task:
            chosen[one.task].setdefault((one.shard, one.key), one)
    return [one for task in CAPTION_TASKS for one in chosen[task].values()]


def _with_images(
    dataset: SelectedDataset, chosen: Sequence[Choice], output: Path
) -> list[dict[str, str]]:
    """Write the images of the chosen captions; return the lines of the file."""
    (output / IMAGES).mkdir()
    images: dict[tuple[str, str], dict[str, str]] = {}
    for shard in sorted({one.shard for one in chosen}):
        wanted = {one.key for one in chosen if one.shard == shard}
        for sample in read_samples(dataset.folder, shard, Wanted(keys=wanted)):
            if len(sample.image) <= MAX_BYTES:
                name = f"{IMAGES}/{sample.sha256[:16]}.{read_header(sample.image).extension}"
                (output / name).write_bytes(sample.image)
                images[shard, sample.key] = {"image": name, "source_sha256": sample.sha256}
    return [
        {**images[one.shard, one.key], "task": one.task, "text": one.text}
        for one in chosen
        if (one.shard, one.key) in images
    ]
