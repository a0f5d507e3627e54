"""Files of a dataset that are damaged, deeply nested or of other types: an error in one sentence,
whoever reads them, and never a traceback."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from florilegium.engine.core.errors import FlorilegiumError
from florilegium.engine.execution.preparation import prepare
from florilegium.engine.execution.progress import Progress
from florilegium.engine.execution.run import execute
from florilegium.engine.results.dataset import open_dataset
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.build import draw_again, put_in_place
from florilegium.pipelines.dataset.clean import clean
from florilegium.pipelines.dataset.find import find_image
from florilegium.pipelines.dataset.lineage import read_lineage
from florilegium.pipelines.dataset.status import read_status
from florilegium.pipelines.dataset.why import explain
from florilegium.pipelines.diff.difference import diff_rounds
from florilegium.pipelines.export.coco import CocoConfig, CocoExporter
from florilegium.pipelines.export.exporter import Exporter, export
from florilegium.pipelines.export.few_shot import FewShotConfig, FewShotExporter
from florilegium.pipelines.export.florence2 import Florence2Config, Florence2Exporter
from florilegium.pipelines.verify.verify import verify_dataset
from tests.building import BRIGHT_ENOUGH, build, configure

pytestmark = pytest.mark.attack("changes")


@pytest.fixture(scope="module")
def finished(album: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("finished") / "out"
    build(album, output, filters=BRIGHT_ENOUGH)
    (output / "refine.json").write_text('{"rounds": []}', encoding="utf-8")
    return output


def read_all(dataset: Path) -> None:
    found = open_dataset(str(dataset)).select(verdict="all")
    for _ in (*found, *found.tables()):
        pass


def rebuild(dataset: Path) -> None:
    source = json.loads((dataset.parent / "source").read_text("utf-8"))
    run = prepare(configure(source, dataset, filters=BRIGHT_ENOUGH))
    put_in_place(run, execute(run, Progress(), check=True))


def exported(dataset: Path, exporter: Exporter[Any, Any]) -> None:
    output = dataset.parent / "exported"
    shutil.rmtree(output, ignore_errors=True)
    export(str(dataset), exporter, output)


READERS: dict[str, Callable[[Path], Any]] = {
    "status": lambda d: read_status(Folder(str(d))),
    "why": lambda d: list(explain(Folder(str(d)), "cat")),
    "find": lambda d: find_image(Folder(str(d)), "album/cup.jpg"),
    "clean": lambda d: clean(Folder(str(d)), is_dry=True),
    "report": lambda d: draw_again(Folder(str(d))),
    "lineage": lambda d: read_lineage(Folder(str(d))),
    "diff": lambda d: diff_rounds(Folder(str(d)), 0, 1),
    "train": read_all,
    "florence2": lambda d: exported(d, Florence2Exporter(Florence2Config())),
    "coco": lambda d: exported(d, CocoExporter(CocoConfig())),
    "few_shot": lambda d: exported(
        d, FewShotExporter(FewShotConfig(audit=str(d / "manifest.json")))
    ),
    "build": rebuild,
}
NAMES = ("manifest.json", "refine.json", "run.yaml", "index.parquet", "dead_letters.parquet")
SHARD = ("_stats.json", ".parquet", ".tar")
DAMAGES: dict[str, bytes] = {
    "empty": b"",
    "no text": b"\xff\xfe\x00",
    "null": b"null",
    "a list": b"[1]",
    "a number with a million digits": b"1" * 1_000_000,
    "not a number": b'{"shards": NaN}',
    "deep": b"[" * 200_000,
    "deep and closed": b"[" * 900 + b"]" * 900,
    "deep objects": b'{"shards": ' * 500 + b"1" + b"}" * 500,
}


def changes(whole: bytes) -> Iterator[Any]:
    """Yield a JSON document with each field of another type, in turn."""
    try:
        document = json.loads(whole)
    except ValueError:
        return
    for name in document:
        for value in (None, 5, "x", [], {}, [5], {"x": [None]}):
            yield {**document, name: value}
    for shard in ({}, {"name": "../../../etc/x"}, {"tar": 5}, {"samples": -1}, {"number": "x"}):
        if "shards" in document:
            yield {**document, "shards": [{**document["shards"][0], **shard}, 5]}
            yield {**document, "shards": [{**document["shards"][0], **shard}]}


def error_of(reader: str, dataset: Path) -> str:
    """Read a dataset as a command does; return the error, if it is one that the command tells."""
    try:
        READERS[reader](dataset)
    except FlorilegiumError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("reader", READERS)
def test_what_is_damaged_ends_no_command_with_a_traceback(
    album: Path, finished: Path, tmp_path: Path, reader: str
) -> None:
    dataset = shutil.copytree(finished, tmp_path / "out")
    (tmp_path / "source").write_text(json.dumps(str(album)), encoding="utf-8")
    paths = [dataset / name for name in NAMES]
    paths += [path for end in SHARD for path in (finished / "shards").glob(f"*{end}")]
    for path in paths:
        path = dataset / path.relative_to(finished) if path.is_relative_to(finished) else path
        whole = path.read_bytes()
        for content in DAMAGES.values():
            path.write_bytes(content)
            message = error_of(reader, dataset)
            assert "\n" not in message
            assert len(message) < 2000
            path.write_bytes(whole)


@pytest.mark.parametrize("reader", READERS)
def test_json_of_other_types_ends_no_command_with_a_traceback(
    album: Path, finished: Path, tmp_path: Path, reader: str
) -> None:
    dataset = shutil.copytree(finished, tmp_path / "out")
    (tmp_path / "source").write_text(json.dumps(str(album)), encoding="utf-8")
    for name in ("manifest.json", "refine.json"):
        whole = (dataset / name).read_bytes()
        for changed in changes(whole):
            (dataset / name).write_text(json.dumps(changed), encoding="utf-8")
            error_of(reader, dataset)
            if reader == "status":  # one turn of the checker suffices
                assert list(verify_dataset(Folder(str(dataset))))
        (dataset / name).write_bytes(whole)
