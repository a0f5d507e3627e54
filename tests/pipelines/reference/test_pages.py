"""The pages of the reference: nothing that is installed is missing, and no link is broken."""

from __future__ import annotations

import re

import pytest
from typer.testing import CliRunner

import florilegium
from florilegium.engine.core.tasks import TASKS
from florilegium.engine.planning.config import RunConfig
from florilegium.engine.planning.registry import source_names, stage_names
from florilegium.engine.results.contract import SAMPLE_COLUMNS, SHARD_COLUMNS
from florilegium.pipelines.commands.main import app
from florilegium.pipelines.merge.rules import rule_names
from florilegium.pipelines.reference.api_page import docstring
from florilegium.pipelines.reference.cli_page import Command, installed_commands
from florilegium.pipelines.reference.markdown import code, prose, table
from florilegium.pipelines.reference.options import options_of
from florilegium.pipelines.reference.pages import PAGES, write_reference
from florilegium.pipelines.reference.plugins import EXPORT_FORMATS, IMPORT_FORMATS, STAGES
from florilegium.pipelines.refine.config import RefineOptions
from florilegium.pipelines.refresh.options import RefreshOptions
from florilegium.pipelines.telemetry.metrics import METRICS
from florilegium.pipelines.terminal.exit_codes import ExitCode
from florilegium.pipelines.training.config import TrainConfig

_BLOCK = re.compile(r"^```.*?^```$", re.M | re.S)
_OPTION = re.compile(r"--[a-z][a-z-]+")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The pages by the names of their files."""
    folder = tmp_path_factory.mktemp("docs") / "reference"
    write_reference(folder)
    return {path.name: path.read_text("utf-8") for path in folder.iterdir()}


def places(page: str) -> list[str]:
    """The names of the places to link to."""
    return re.findall(r"^\((\S+)\)=$", page, re.M)


def test_all_pages_are_written_and_named_in_the_table_of_contents(pages: dict[str, str]) -> None:
    assert set(pages) == {"index.md", *(f"{name}.md" for name in PAGES)}
    contents = pages["index.md"].partition("```{toctree}")[2].split("```")[0]
    assert contents.split() == list(PAGES)
    assert all(page.startswith("# ") and page.endswith("\n") for page in pages.values())


def test_a_mask_has_a_signature_and_no_class_is_explained_by_what_is_not_public(
    pages: dict[str, str],
) -> None:
    assert "class MaskRLE(size: tuple[int, int], counts: str)" in pages["api.md"]
    assert 'counts=encoded["counts"].decode()' in pages["api.md"]
    assert re.findall(r"`(?:florilegium\.)?engine\.[\w.]+`", pages["api.md"]) == []


def test_every_link_leads_somewhere_and_no_place_has_two_names(pages: dict[str, str]) -> None:
    found = [place for page in pages.values() for place in places(page)]
    assert len(found) == len(set(found))
    for name, page in pages.items():
        for target in re.findall(r"\]\(([^)\s]+)\)", _BLOCK.sub("", page)):
            assert target.removeprefix("#") in found or target in pages, f"{name}: {target}"


@pytest.mark.parametrize(
    ("page", "kind", "names"),
    [
        ("stages.md", "stage", stage_names()),
        ("sources.md", "source", source_names()),
        ("merge-rules.md", "merge-rule", rule_names()),
        ("exporters.md", "export-format", EXPORT_FORMATS.names()),
        ("importers.md", "import-format", IMPORT_FORMATS.names()),
        ("cli.md", "command", [one.words for one in installed_commands()]),
        ("config.md", "config", ["run", "refine", "refresh", "train"]),
    ],
)
def test_everything_installed_has_a_section(
    pages: dict[str, str], page: str, kind: str, names: list[str]
) -> None:
    wanted = [f"{kind}-{re.sub('[ _]', '-', name)}" for name in names]
    assert [place for place in places(pages[page]) if place.startswith(f"{kind}-")] == wanted


def test_every_option_of_every_stage_is_on_the_page(pages: dict[str, str]) -> None:
    sections = dict(re.findall(r"^\((\S+)\)=\n(.*?)(?=^\(|\Z)", pages["stages.md"], re.M | re.S))
    for name in stage_names():
        plugin = STAGES.describe(name)
        for option in plugin.options:
            section = f"options-{option.owner.__name__.lower()}"
            own = f"stage-{name.replace('_', '-')}"
            where = own if option.owner is plugin.config else section
            assert f"* **`{option.name}`**: " in sections[where], f"{name}: {option.name}"
            assert where == own or f"(#{section})" in sections[own]


@pytest.mark.parametrize("model", [RunConfig, RefineOptions, RefreshOptions, TrainConfig])
def test_every_key_of_a_config_is_on_the_page(pages: dict[str, str], model: type) -> None:
    for option in options_of(model):
        nested = () if option.name == "train" else option.nested
        for one in (option, *nested):
            assert f"* **`{one.name}`**: {one.value}; " in pages["config.md"]


@pytest.mark.parametrize("command", installed_commands(), ids=lambda command: command.words)
def test_a_command_has_the_options_that_its_help_has(command: Command) -> None:
    arguments = [*command.words.split()[1:], "--help"]
    shown = CliRunner().invoke(app, arguments, env={"COLUMNS": "300", "TERM": "dumb"}).output
    options = {name for one in command.parameters for name in _OPTION.findall(one.spelling)}
    assert options == {*re.findall(r"^[^\w-]*(--[a-z-]+)", shown, re.M)} - {"--help"}
    for one in command.parameters:
        assert one.doc
        assert one.doc.split()[0] in shown


def test_the_line_that_calls_a_command_has_what_must_be_given() -> None:
    usages = {one.words: one.usage for one in installed_commands()}
    assert usages["florilegium train"] == "florilegium train RUN CONFIG --output PATH [OPTIONS]"
    assert usages["florilegium why"] == "florilegium why DIR IMAGE"


def test_every_field_of_the_output_is_on_the_page(pages: dict[str, str]) -> None:
    for column in (*SAMPLE_COLUMNS, *SHARD_COLUMNS):
        assert f"| `{column.name}` | " in pages["output.md"]
    assert "| `mask_rle.counts` | string | run lengths" in pages["output.md"]
    assert "| `verdicts[].measurement[].value` | double | " in pages["output.md"]
    assert "| `score` | double, or null | " in pages["output.md"]
    assert "| `box_xyxy` | list of 0 or 4 double | " in pages["output.md"]


def test_tasks_exit_codes_and_metrics_are_on_their_pages(pages: dict[str, str]) -> None:
    assert all(f"| `{task}` | " in pages["tasks.md"] for task in TASKS)
    assert all(f"| {code.value} | " in pages["exit-codes.md"] for code in ExitCode)
    assert all(f"`{metric.name}" in pages["metrics.md"] for metric in METRICS)


def test_every_public_name_is_on_the_page_of_the_api(pages: dict[str, str]) -> None:
    for name in florilegium.__all__:
        assert f"\n### `{name}`\n" in pages["api.md"]
    assert "    score: float | None = None,\n" in pages["api.md"]
    assert "* **`predict(self, samples: Sequence[Sample]) -> " in pages["api.md"]
    assert "The field changes how fast, never what" in pages["api.md"]
    assert "model_config" not in pages["api.md"]


def test_markup_in_a_docstring_is_plain_text_outside_of_code() -> None:
    assert prose("a_b <c> `d_<e>` _f |g") == r"a_b \<c\> `d_<e>` \_f \|g"
    assert code("a`b") == "`` a`b ``"
    assert code("''") == "`''`"
    assert table(("a",), [("`x|y`",), ("two\nlines",)]) == (
        "| a |\n| --- |\n| `x\\|y` |\n| two lines |\n\n"
    )


def test_sections_of_a_docstring_become_lists_and_indented_text_code() -> None:
    text = "Do it.\n\n    run\n\n    it\n\nRaises:\n    A: one\n        line.\n    B: two."
    assert (
        docstring(text)
        == "Do it.\n\n```python\nrun\n\nit\n```\n\nRaises:\n\n* A: one line.\n* B: two."
    )
