"""Sources and exporters that break their contract, each in one way only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.errors import ConfigError
from florilegium.engine.core.sample import DeadLetter
from florilegium.engine.sources.source import Item, Reading, Source, SourceConfig
from florilegium.pipelines.export.exporter import ExportConfig, Exported, Exporter
from florilegium.pipelines.export.selected import SelectedDataset

_NUMBERS = count()


class Photos(Source[SourceConfig]):
    """The files of a folder; the sources below derive from it."""

    def items(self) -> Iterator[Item]:
        for path in sorted(Path(self.config.url).iterdir()):
            yield Item(location=path.name, signature=str(path.stat().st_size))

    def read(self, item: Item) -> Iterator[Reading | DeadLetter]:
        try:
            data = (Path(self.config.url) / item.location).read_bytes()
        except OSError as error:
            yield lost(item, str(error))
            return
        yield Reading(name=item.location, location=item.location, data=data)


def lost(item: Item, message: str) -> DeadLetter:
    """Return the dead letter of an item."""
    return DeadLetter(
        key=item.location, source=item.location, stage="source", reason="lost", message=message
    )


class Empty(Photos):
    """Lists nothing, without a word."""

    def items(self) -> Iterator[Item]:
        return iter(())


class NamesOnly(Photos):
    """Lists names in place of items."""

    def items(self) -> Iterator[Any]:
        return (item.location for item in super().items())


class Twice(Photos):
    """Lists every file twice."""

    def items(self) -> Iterator[Item]:
        for item in super().items():
            yield from (item, item)


class NoSignature(Photos):
    """Does not tell when a file has changed."""

    def items(self) -> Iterator[Item]:
        return (replace(item, signature="") for item in super().items())


class Unstable(Photos):
    """Lists with other signatures each time."""

    def items(self) -> Iterator[Item]:
        return (replace(item, signature=str(next(_NUMBERS))) for item in super().items())


class OtherTables(Photos):
    """Lists as a table what is not in its items."""

    def item_tables(self) -> Iterator[pa.Table]:
        for table in super().item_tables():
            yield table.slice(1)


class OtherColumns(Photos):
    """Lists as a table that lacks a column."""

    def item_tables(self) -> Iterator[pa.Table]:
        for table in super().item_tables():
            yield table.drop_columns("size")


class OrderOfASet(Photos):
    """Lists by the order of a set, which is another one in each process."""

    def items(self) -> Iterator[Item]:
        letters = "".join({f"letter {number}" for number in range(30)})
        return (replace(item, signature=letters) for item in super().items())


class ListOfFiles(Source[SourceConfig]):
    """The files of a list, which is a file beside them; it is right."""

    def items(self) -> Iterator[Item]:
        for name in Path(self.config.url).read_text("utf-8").split():
            yield Item(location=name, signature="1")

    def read(self, item: Item) -> Iterator[Reading | DeadLetter]:
        try:
            data = (Path(self.config.url).parent / item.location).read_bytes()
        except OSError as error:
            yield lost(item, str(error))
            return
        yield Reading(name=item.location, location=item.location, data=data)


class Several(Photos):
    """Reads several inputs of one item, though it is not packed."""

    def read(self, item: Item) -> Iterator[Reading | DeadLetter]:
        yield from super().read(item)
        yield from super().read(item)


class Nothing(Photos):
    """Reads nothing of an item."""

    def read(self, item: Item) -> Iterator[Reading | DeadLetter]:
        return iter(())


class AllLost(Photos):
    """Loses every file."""

    def read(self, item: Item) -> Iterator[Reading | DeadLetter]:
        yield lost(item, "no right to read it")


class UnsortedMetadata(Photos):
    """Gives metadata whose keys are not sorted."""

    def read(self, item: Item) -> Iterator[Any]:
        for one in super().read(item):
            yield replace(one, metadata='{"b": 1, "a": 2}') if isinstance(one, Reading) else one


class BadLabel(Photos):
    """Gives a label without what its task needs."""

    def read(self, item: Item) -> Iterator[Any]:
        label = Annotation(kind="region", task="object_detection", label="thing")
        for one in super().read(item):
            yield replace(one, annotations=(label,)) if isinstance(one, Reading) else one


class NeedsListing(Photos):
    """Reads only what it has listed before."""

    def __init__(self, config: SourceConfig, *, shard_size: int) -> None:
        super().__init__(config, shard_size=shard_size)
        self.listed: set[str] = set()

    def items(self) -> Iterator[Item]:
        for item in super().items():
            self.listed.add(item.location)
            yield item

    def read(self, item: Item) -> Iterator[Reading | DeadLetter]:
        if item.location not in self.listed:
            yield lost(item, "it was not listed")
            return
        yield from super().read(item)


class RaisesWhenGone(Photos):
    """Raises where a file is gone."""

    def read(self, item: Item) -> Iterator[Reading | DeadLetter]:
        data = (Path(self.config.url) / item.location).read_bytes()
        yield Reading(name=item.location, location=item.location, data=data)


class SilentWhenGone(Photos):
    """Passes by a file that is gone."""

    def read(self, item: Item) -> Iterator[Reading | DeadLetter]:
        return (one for one in super().read(item) if isinstance(one, Reading))


class NoImages(Photos):
    """Gives bytes that are no images."""

    def read(self, item: Item) -> Iterator[Any]:
        for one in super().read(item):
            yield replace(one, data=b"text") if isinstance(one, Reading) else one


class OneRemark(Photos):
    """Gives a remark instead of a tuple of remarks."""

    def remarks(self) -> Any:
        return "two files are left alone"


@dataclass(frozen=True, kw_only=True)
class Counted(Exported):
    """How many samples there are."""

    samples: int

    def summary(self) -> Iterator[str]:
        yield f"{self.samples} samples"

    def warnings(self) -> Iterator[str]:
        return iter(())


class Keys(Exporter[ExportConfig, Any]):
    """Writes a list of keys; the exporters below derive from it."""

    def write(self, dataset: SelectedDataset, output: Path) -> Any:
        keys = [sample.key for sample in dataset]
        (output / "keys.txt").write_text("\n".join(keys), "utf-8")
        return Counted(samples=len(keys))


class WritesNothing(Keys):
    """Writes no file."""

    def write(self, dataset: SelectedDataset, output: Path) -> Any:
        return Counted(samples=len(list(dataset)))


class ReturnsNothing(Keys):
    """Returns nothing."""

    def write(self, dataset: SelectedDataset, output: Path) -> Any:
        super().write(dataset, output)


class OtherBytes(Keys):
    """Writes a number that is another one each time."""

    def write(self, dataset: SelectedDataset, output: Path) -> Any:
        (output / "run.txt").write_text(f"run {next(_NUMBERS)}", "utf-8")
        return super().write(dataset, output)


class OrderOfATable(Keys):
    """Writes by the order of a set, which is another one in each process."""

    def write(self, dataset: SelectedDataset, output: Path) -> Any:
        letters = {f"letter {number}" for number in range(30)}
        (output / "letters.txt").write_text("\n".join(letters), "utf-8")
        return super().write(dataset, output)


class WritesBeside(Keys):
    """Writes into the dataset."""

    def write(self, dataset: SelectedDataset, output: Path) -> Any:
        exported = super().write(dataset, output)
        dataset.folder.publish("exported.txt", b"yes")
        return exported


class CannotWrite(Keys):
    """Refuses every dataset."""

    def write(self, dataset: SelectedDataset, output: Path) -> Any:
        raise ConfigError("there is nothing to write")


class Silent(Counted):
    """Counts nothing."""

    def summary(self) -> Iterator[str]:
        return iter(())


class NoSummary(Keys):
    """Does not tell what it wrote."""

    def write(self, dataset: SelectedDataset, output: Path) -> Any:
        return Silent(samples=super().write(dataset, output).samples)


class LooseConfig(ExportConfig):
    """Options without a word about them."""

    limit: int = 3


class LooseOptions(Keys):
    """Has an option that is not documented."""

    Config: ClassVar[Any] = LooseConfig
