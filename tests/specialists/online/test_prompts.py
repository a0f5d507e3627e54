from __future__ import annotations

from pathlib import Path

import pytest

from florilegium.engine.core.errors import ConfigError
from florilegium.specialists.online.context import TASKS_OF, ContextRegion, PromptContext
from florilegium.specialists.online.prompts import MAX_CHARACTERS, read_prompt, revision_of

ROOT = Path(__file__).parents[3]
SHIPPED = sorted(path.name for path in (ROOT / "configs" / "prompts").glob("*.txt"))
OF_CAPTIONS = [name for name in SHIPPED if name != "questions.txt"]


def template(tmp_path: Path, text: str) -> str:
    path = tmp_path / "prompt.txt"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_template_tells_what_was_heard(tmp_path: Path) -> None:
    text = "{% for one in regions %}\n{{ one.name }} at {{ one.box }}\n{% endfor %}{{ width }}"
    given = PromptContext(width=9, height=8, regions=(ContextRegion(name='"a"', box="1 2 3 4"),))
    assert read_prompt(template(tmp_path, text)).filled(given) == '"a" at 1 2 3 4\n9'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{ captoins }}", "uses 'captoins', .* did you mean 'captions'"),
        ("{% for one in region %}{{ one }}{% endfor %}", "did you mean 'regions'"),
        ("{% for one in regions %}{{ one.nme }}{% endfor %}", "no 'nme'; did you mean 'name'"),
        ("{% for one in facts %}{{ one.kin }}{% endfor %}", "no 'kin'; did you mean 'kind'"),
        ("{{ lines[7] }}", "no '7'"),
        ("{% for one in tags %}", "line 1: Unexpected end of template"),
        ("a\n{{ }}", "line 2: Expected an expression"),
        ("{{ tags | shout }}", "No filter named 'shout'"),
        ("{{ width / 0 }}", "cannot be filled: division by zero"),
        ("{{ width.__class__.__mro__ }}", "cannot be filled"),
        ("{% if not tags %}x{% endif %}", "is empty"),
        ("", "is empty"),
        ("x" * (MAX_CHARACTERS + 1), "more than"),
    ],
)
def test_an_invalid_template_is_refused_at_loading(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_prompt(template(tmp_path, text))


def test_a_template_that_fails_only_on_an_empty_sample_is_refused_too(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be filled"):
        read_prompt(template(tmp_path, "Begin with {{ captions[0] }}"))


def test_a_template_that_is_not_there_names_the_nearest() -> None:
    with pytest.raises(
        ConfigError, match=r"'package://florilegium/configs/prompts/detailed_caption.txt'"
    ):
        read_prompt("configs/prompts/detailed_captions.txt")


@pytest.mark.parametrize("name", OF_CAPTIONS)
def test_the_templates_that_are_shipped_work_from_any_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    prompt = read_prompt(f"package://florilegium/configs/prompts/{name}")
    bare = prompt.filled(PromptContext(width=1, height=1))
    full = prompt.filled(
        PromptContext(
            width=1,
            height=1,
            regions=(ContextRegion(name='"a dog"', box="1 2 3 4"),),
            **{field: ('"a cat"',) for field in TASKS_OF if field not in ("regions", "facts")},
        )
    )
    assert '- "a dog" at 1 2 3 4' in full.splitlines()
    assert '- "a cat"' in full.splitlines()
    assert "\n\n\n" not in full
    assert bare
    assert '"' not in bare


def test_a_template_knows_which_tasks_it_tells(tmp_path: Path) -> None:
    prompt = read_prompt(template(tmp_path, "{{ lines }}{{ brief_captions }}{{ height }}"))
    assert prompt.tasks == ("caption", "ocr")


def test_words_make_the_revision_and_places_do_not(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    first = read_prompt(template(tmp_path, "Say it."))
    moved = read_prompt(template(tmp_path / "other", "Say it."))
    other = read_prompt(template(tmp_path, "Say it!"))
    assert revision_of({"caption": first}) == revision_of({"caption": moved})
    assert revision_of({"caption": first}) != revision_of({"caption": other})
    assert revision_of({"caption": first}) != revision_of({"detailed_caption": first})
