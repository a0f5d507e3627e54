"""The reader of blocks finds each one, and a wrong one fails."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.docs.blocks import Block, blocks_of
from tests.docs.commands import Command, check, commands_of
from tests.docs.page import Console, _defaults

PAGE = Path("page.md")


def block(language: str, text: str, reason: str = "") -> Block:
    return Block(page=PAGE, line=1, end=9, language=language, text=text, reason=reason)


def test_every_fence_is_a_block_with_its_line_language_and_reason() -> None:
    text = """# Title

```python
print(1)
```

<!-- not run: it needs
a cluster -->
```bash
florilegium submit
```

1. In a list

   ~~~~yaml
   a: 1
   ~~~
   ~~~~

````{note}
```json
{}
```
````

```{code-block} py
:caption: a.py

1 + 1
```
"""
    found = [(one.line, one.language, one.text, one.reason) for one in blocks_of(text, PAGE)]
    assert found == [
        (3, "python", "print(1)", ""),
        (9, "console", "florilegium submit", "it needs a cluster"),
        (15, "yaml", "a: 1\n~~~", ""),
        (21, "json", "{}", ""),
        (20, "{note}", "```json\n{}\n```", ""),
        (26, "python", "\n1 + 1", ""),
    ]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("```python\nprint(1)\n", "page.md:1: the fence ``` is not closed"),
        ("<!-- not run: why -->\nText.\n", "no block follows"),
        ("<!-- not run: why -->\nText.\n```python\n```\n", "no block follows"),
        ("<!-- not run: a -->\n<!-- not run: b -->\n```python\n```\n", "no block follows"),
    ],
)
def test_a_page_that_could_hide_a_block_is_an_error(text: str, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        blocks_of(text, PAGE)


def test_lines_are_split_into_commands_as_a_shell_does() -> None:
    text = """florilegium status out/mine [--json]   # how far it is
florilegium build CONFIG \\
    --set a='b c'
A=1 make demo && python -m florilegium configs quickstart > mine.yaml
"""
    assert [(one.words, one.writes) for one in commands_of(block("console", text))] == [
        (("florilegium", "status", "out/mine", "--json"), ""),
        (("florilegium", "build", "CONFIG", "--set", "a=b c"), ""),
        (("make", "demo"), ""),
        (("florilegium", "configs", "quickstart"), "mine.yaml"),
    ]


def test_after_a_prompt_other_lines_are_output() -> None:
    text = "$ florilegium stages\nrapidocr  reads nothing\n"
    assert [one.words for one in commands_of(block("console", text))] == [("florilegium", "stages")]


@pytest.mark.parametrize(
    ("line", "is_quick"),
    [
        ("florilegium status out/mine", True),
        ("florilegium status out/mine --watch", False),
        ("florilegium status s3://BUCKET/mine", False),
        ("florilegium try imagenet_cam package://skimage/data/coffee.png", True),
        ("florilegium build configs/quickstart.yaml", True),
        ("florilegium build fld5b_small", False),
        ("florilegium build fld5b_small --dry-run", True),
        ("florilegium refine CONFIG", False),
    ],
)
def test_quick_commands_are_run_and_others_are_parsed(line: str, is_quick: bool) -> None:
    (command,) = commands_of(block("console", line))
    assert command.is_quick is is_quick


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("florilegium buidl CONFIG", "No such command 'buidl'"),
        ("florilegium build CONFIG --sorce x", "No such option: --sorce"),
        ("florilegium build", "Missing argument"),
        ("florilegium build A B", "unexpected extra argument"),
        (
            "florilegium build CONFIG --max-dead-letter-share 2",
            "Invalid value for '--max-dead-letter-share'",
        ),
        ("florilegium job logs", "Missing argument"),
        ("florilegium build no.yaml", "no.yaml"),
        ("florilegium build configs/quickstart.yaml --set filters.x=null", "is not there"),
        ("make dmeo", "no target 'dmeo'"),
        ("python no.py", "no file 'no.py'"),
        ("python -m no_module", "no module 'no_module'"),
        ("pip install 'florilegium[starter,sssss]'", "no extra 'sssss'"),
        ("sudo rm", "'sudo' is no program that pages may name"),
    ],
)
def test_a_wrong_command_is_found_without_running_it(line: str, problem: str) -> None:
    (command,) = commands_of(block("console", line))
    with pytest.raises(Exception, match=problem):
        check(command)


@pytest.mark.parametrize(
    "line",
    [
        "florilegium refine CONFIG --until candidates",
        "florilegium job cancel JOB --address http://HEAD:8265",
        "florilegium --version",
        "make bench-refine SEEDS=1",
        "pip install 'florilegium[starter,s3]'",
        "export A=1 B=2",
    ],
)
def test_a_right_command_passes(line: str) -> None:
    (command,) = commands_of(block("console", line))
    check(command)


@pytest.mark.parametrize(
    ("language", "text", "failure"),
    [
        ("python", "a = 1\nassert a == 2, 'no'", "line 2 of the block: AssertionError: no"),
        ("python", "from florilegium import nothing", "ImportError"),
        ("python", "def test_it():\n    raise ValueError('called')", "called"),
        ("console", "florilegium status nowhere", "ended with 2"),
        ("console", "echo hello", "'echo' is no program"),
        ("console", "florilegium 'status", "No closing quotation"),
        ("yaml", "specialists: {rapidocr: {leest_score: 1}}", "leest_score"),
        ("yaml", "specialists: {rapidcor: }", "rapidcor"),
        ("yaml", "refresh: {limits: {max_drift: 2}}", "max_drift"),
        ("yaml", "refine: {round: 1}", "round"),
        ("yaml", "nms: {no_option: 1}", "no_option"),
        ("yaml", "apiVersion: ray.io/v1", "neither a config"),
        ("yaml", "a: [", "the block"),
        ("json", "{'a': 1}", "JSONDecodeError"),
        ("jsonl", "{}\n{", "JSONDecodeError"),
        ("toml", "a =", "TOMLDecodeError"),
        ("", "florilegium stages", "has no language"),
        ("pyhton", "1", "'pyhton' is not known"),
    ],
)
def test_a_wrong_block_fails(language: str, text: str, failure: str, tmp_path: Path) -> None:
    (found,) = Console(tmp_path).run([block(language, text)])
    assert failure in str(found)
    assert str(found).startswith("page.md:1: ")


def test_blocks_of_a_page_share_names_and_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first = block("python", "# plugin/one.py\nA = 2\n\n\ndef test_a():\n    assert A == 2\n")
    second = block(
        "python", "from pathlib import Path\nassert A == 2\nassert Path('plugin/one.py')"
    )
    third = block("yaml", "# part.yaml\nfilters: {nms: }")
    assert Console(tmp_path).run([first, second, third]) == []
    assert (tmp_path / "plugin" / "one.py").read_text("utf-8") == first.text
    assert (tmp_path / "part.yaml").exists()


def test_a_block_that_is_not_run_is_still_parsed(tmp_path: Path) -> None:
    right = block("console", "florilegium status nowhere", reason="it is not there")
    assert Console(tmp_path).run([right]) == []
    (failure,) = Console(tmp_path).run([block("console", "florilegium sttus x", reason="why")])
    assert "No such command 'sttus'" in failure.what
    assert Console(tmp_path).run([block("python", "1 / 0", reason="why")]) == []


def test_a_command_is_run_and_its_output_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Console(tmp_path).run([block("console", "florilegium stages > stages.txt")]) == []
    assert "template_caption" in (tmp_path / "stages.txt").read_text("utf-8")


def test_a_word_in_capitals_stands_for_one_of_the_reader() -> None:
    assert Command(words=("florilegium", "why", "out/mine", "KEY")).is_template
    assert Command(words=("florilegium", "status", "s3://BUCKET/mine")).is_template
    assert not Command(words=("florilegium", "why", "out/mine", "cat.JPG")).is_template


def test_a_package_of_the_page_is_installed_where_the_page_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from florilegium.engine.planning.registry import find_stage

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    folder = tmp_path / "of-page"
    folder.mkdir()
    (folder / "pyproject.toml").write_text(
        '[project]\nname = "of-page"\n[project.entry-points."florilegium.stages"]\n'
        'of_page = "of_page:Rapid"\n'
    )
    stage = "from florilegium.specialists.ocr.rapidocr import RapidOcr as Rapid"
    blocks = [
        block("console", "cd of-page && pip install -e '.[test]'", reason="why"),
        block("console", "cd of-page\npip install -e ."),
        block("python", f"# of_page.py\n{stage}\n"),
    ]
    assert "no extra 'test'" in str(Console(tmp_path).run(blocks[:1]))
    assert Console(tmp_path).run(blocks[1:]) == []
    assert Path.cwd() == folder
    assert find_stage("of_page").__name__ == "RapidOcr"
    del sys.modules["of_page"]


def test_shipped_configs_are_run_with_small_pictures_and_others_with_their_own() -> None:
    added = ("--runner", "in_process", "--source", str(Path("~/Pictures").expanduser()))
    assert tuple(_defaults(["florilegium", "build", "quickstart"])) == added
    assert tuple(_defaults(["florilegium", "build", "mine.yaml"])) == added[:2]
    given = ["florilegium", "build", "quickstart", "--source", "x", "--runner", "ray"]
    assert tuple(_defaults(given)) == ()
    assert tuple(_defaults(["florilegium", "status", "out/mine"])) == ()
