"""Tables on narrow terminals: nothing that they say is cut."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from florilegium.engine.execution.preparation import prepare
from florilegium.pipelines.commands.tables import plan_table, print_table
from tests.building import BRIGHT_ENOUGH, configure
from tests.enriching import scoring, stages

LONG = "a_specialist_whose_name_is_longer_than_anybody_would_ever_write_it_in_a_config_file_of_80"


def printed(table: Table, *, width: int = 80, is_terminal: bool = False) -> str:
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=is_terminal, color_system=None)
    print_table(console, table)
    return file.getvalue()


def table_of(*names: str) -> Table:
    table = Table()
    for title in ("stage", "reads", "produces"):
        table.add_column(title)
    table.add_row(*names)
    return table


@pytest.mark.parametrize("width", [20, 80])
def test_names_are_not_broken_outside_of_a_terminal(width: int) -> None:
    names = (LONG, "open_vocabulary_detection", "more_detailed_caption")
    text = printed(table_of(*names), width=width)
    assert all(name in text for name in names)
    assert "…" not in text


def test_names_wrap_on_a_narrow_terminal() -> None:
    text = printed(table_of(LONG, "reads", "says"), width=40, is_terminal=True)
    assert max(map(len, text.splitlines())) <= 40
    first = [line.split("│")[1].strip() for line in text.splitlines() if "│" in line]
    assert "".join(first) == LONG


def test_names_that_fit_are_not_broken_when_other_columns_are_wide() -> None:
    wordy = "extra torchvision for llava_onevision, qwen2_vl, qwen3_vl and some others"
    names = (wordy, "open_vocabulary_detection", "more_detailed_caption")
    text = printed(table_of(*names), is_terminal=True)
    assert max(map(len, text.splitlines())) <= 80
    assert all(word in text for word in (*wordy.split(), *names[1:]))


def test_a_plan_with_a_long_name_is_printed_whole(album: Path, tmp_path: Path) -> None:
    stages = {LONG: {"use": "tests.stages:Brightest"}}
    text = printed(plan_table(prepare(configure(album, tmp_path / "out", specialists=stages))))
    assert LONG in text
    assert "tests.stages:Brightest" in text


def test_a_plan_has_the_filters_that_judge_before_each_stage(album: Path, tmp_path: Path) -> None:
    config = configure(album, tmp_path / "out", specialists=stages(tmp_path), filters=scoring(0.5))
    text = printed(plan_table(prepare(config)))
    assert text.split().count("after") == 2, "`least` judges before `texts` and `names`"


def test_a_plan_tells_which_stages_read_labels_of_the_source(album: Path, tmp_path: Path) -> None:
    source = [{"url": str(album), "provides": ["object_detection"]}]
    table = plan_table(prepare(configure(source, tmp_path / "out", filters=BRIGHT_ENOUGH)))
    names, reads = (list(table.columns[number].cells) for number in (0, 1))
    assert [str(name).split("\n")[0] for name in names] == ["bright", "enough"]
    assert reads == ["", "source\nbright"]
