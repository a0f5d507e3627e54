"""A build without specialists: filters judge the captions that the source has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from florilegium.engine.core.errors import ConfigError, UsageError
from florilegium.engine.execution.preparation import prepare
from florilegium.engine.planning.config import RunConfig, validated
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.build import build_dataset
from florilegium.pipelines.cost.measure import measure
from florilegium.pipelines.dataset.status import read_status
from florilegium.pipelines.dataset.why import explain
from florilegium.pipelines.refine.config import RefineConfig
from florilegium.pipelines.verify.verify import verify_dataset

CAPTIONS = {"dog": "A dog runs over grass.", "cat": "A stock photo of a cat.", "cup": "A cup."}
FILTERS: dict[str, Any] = {"blacklist": {}}


@pytest.fixture
def captioned(tmp_path: Path) -> Path:
    """Three images, each with a caption beside it."""
    folder = tmp_path / "captioned"
    folder.mkdir()
    for number, (name, caption) in enumerate(CAPTIONS.items()):
        Image.new("RGB", (32, 24), (60 * number, 90, 30)).save(folder / f"{name}.png")
        (folder / f"{name}.txt").write_text(caption, "utf-8")
    return folder


def document(source: Path, *, provides: tuple[str, ...] = ("caption",), **keys: Any) -> Any:
    where = {"url": str(source), "provides": list(provides)}
    output = str(source.parent / "out")
    return {"source": where, "output": output, "runner": "in_process", **keys}


def configure(source: Path, **keys: Any) -> RunConfig:
    return validated(RunConfig, document(source, **keys), where="mine.yaml")


@pytest.mark.parametrize("absence", [{}, {"specialists": {}}, {"specialists": None}])
def test_captions_of_the_source_are_judged_without_specialists(
    captioned: Path, absence: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    run = prepare(configure(captioned, filters=FILTERS, **absence))
    manifest = build_dataset(run)
    assert manifest.totals.tasks == {"caption": {"kept": 2, "dropped": 1}}
    assert manifest.totals.drops == {"blacklist/blacklisted": 1}
    out = Folder(run.output.url)
    assert list(verify_dataset(out)) == []
    status = read_status(out)
    assert (status.is_finished, status.annotations_kept) == (True, 2)
    lines = [line.plain.strip() for line in explain(out, "cat")]
    assert any(line.startswith("dropped A stock photo of a cat.  by source") for line in lines)
    assert "blacklist" in (captioned.parent / "out" / "report.html").read_text("utf-8")
    card = (captioned.parent / "out" / "README.md").read_text("utf-8")
    assert "annotations_creators:\n- found\n" in card
    assert "asked: " not in capsys.readouterr().err, "no stage has answers of its own"


def test_nothing_is_measured_where_no_stage_is_asked(captioned: Path) -> None:
    run = prepare(configure(captioned, filters=FILTERS))
    with pytest.raises(UsageError, match=r"no stage here is asked about images \(blacklist\)"):
        measure(run, 3, on_stage=lambda name: None)


def test_a_run_without_any_stage_is_refused_with_the_way_out(captioned: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        configure(captioned)
    assert str(refused.value) == (
        "mine.yaml: there are no stages: give at least 1 under `specialists`, or under "
        "`filters` where labels of the source are all that is to be judged"
    )


def test_filters_alone_need_a_source_that_is_known_to_have_labels(captioned: Path) -> None:
    with pytest.raises(ConfigError, match=r"provides: \[caption\]}`, or give at least 1 under"):
        prepare(configure(captioned, provides=(), filters=FILTERS))


def test_a_refinement_needs_specialists(captioned: Path) -> None:
    refine = {"students": {"s": {}}, "train": {"model": "x"}}
    with pytest.raises(ConfigError, match="a refinement needs `specialists`"):
        validated(RefineConfig, document(captioned, filters=FILTERS, refine=refine), where="config")


def test_a_task_that_a_source_does_not_know_is_named_with_the_nearest(captioned: Path) -> None:
    with pytest.raises(ConfigError, match="unknown task 'captions', did you mean 'caption'"):
        configure(captioned, provides=("captions",), filters=FILTERS)
