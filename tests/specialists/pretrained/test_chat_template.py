"""Templates of strangers are programs: they end, or they are refused."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from florilegium.engine.core.errors import ConfigError
from florilegium.specialists.captions.chat_caption import ChatCaption, ChatCaptionConfig
from florilegium.specialists.pretrained.chat_template import rendered_chat
from tests.checkpoints.chat_caption import WRITERS

CONVERSATION = [
    {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]}
]


class Processor:
    """Renders as processors of `transformers` do."""

    def __init__(self, template: Any) -> None:
        self.chat_template = template

    def apply_chat_template(self, conversation: Sequence[Mapping[str, Any]], **options: Any) -> str:
        from transformers.utils.chat_template_utils import render_jinja_template

        template = self.chat_template
        if isinstance(template, dict):
            template = template["default"]
        rendered, _ = render_jinja_template([conversation], chat_template=template, **options)
        return str(rendered[0])


def test_a_template_writes_the_prompt() -> None:
    template = (
        "{% for one in messages %}{{ one['role'] }}:{% for part in one['content'] %}"
        "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}"
        "{% endfor %}{% endfor %}{% if add_generation_prompt %} Answer:{% endif %}"
        "{% generation %}{% endgeneration %}"
    )
    before = sys.gettrace()
    assert rendered_chat(Processor(template), CONVERSATION) == "user:<image>What is it? Answer:"
    assert sys.gettrace() is before


HOSTILE = {
    "loops in loops": (
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "has not ended after 215600 steps",
    ),
    "a macro that calls itself": (
        "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
        "has not ended|recursion",
    ),
    "text without end": ("{{ lipsum(n=99999) }}", "has not ended"),
    "a constant power": ("{{ 9 ** 9 ** 9 }}", r"computes with '\*\*'"),
    "a product": ("{% set n = namespace(x=2) %}{{ n.x * n.x }}", r"computes with '\*'"),
    "a text repeated": ("{{ 'a' * 99999 }}", r"computes with '\*'"),
    "a wide text": ("{{ 'a'.center(9999999999) }}", "computes with 9999999999, more than 100000"),
    "a number in parts": ("{{ 'a'.center(999_999_999) }}", "computes with 999_999_999"),
    "a very long template": ("a" * 100_001, "has more than 100000 characters"),
    "a power unused": ("{% if false %}{{ 9 ** 9 ** 9 }}{% endif %}", r"computes with '\*\*'"),
}


@pytest.mark.attack("models")
@pytest.mark.parametrize("name", HOSTILE)
def test_a_template_without_end_is_refused(name: str) -> None:
    template, message = HOSTILE[name]
    before = sys.gettrace()
    with pytest.raises((ConfigError, RecursionError), match=message):
        rendered_chat(Processor(template), CONVERSATION)
    assert sys.gettrace() is before


@pytest.mark.attack("models")
@pytest.mark.parametrize("name", [name for name in HOSTILE if "computes" in HOSTILE[name][1]])
def test_every_template_of_a_processor_is_looked_at(name: str) -> None:
    template, message = HOSTILE[name]
    for several in ({"default": template}, {"default": "fine", "other": template}):
        with pytest.raises(ConfigError, match=message):
            rendered_chat(Processor(several), CONVERSATION)


@pytest.mark.attack("models")
@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ cycler.__init__.__globals__.os.system('touch MARK') }}",
        "{{ messages.__class__.__base__ }}",
        "{{ ('{0.__class__}').format(1) }}{{ messages[0].update({'x': 1}) }}",
        "{% include '/etc/passwd' %}",
        "{% import '/etc/passwd' as x %}",
        "{{ messages.append(1) }}",
    ],
)
def test_a_template_reaches_nothing_but_the_conversation(
    template: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    conversation = [dict(CONVERSATION[0])]
    try:
        predicted = rendered_chat(Processor(template), conversation)
    except Exception as error:  # of Jinja, whatever it is
        predicted = str(error)
    assert conversation == CONVERSATION
    assert not (tmp_path / "MARK").exists()
    assert not any(word in predicted for word in ("root:", "<class", "Popen"))


@pytest.mark.attack("models")
def test_a_checkpoint_with_such_a_template_is_refused_when_it_is_loaded(tmp_path: Path) -> None:
    folder = WRITERS["llava"](tmp_path / "llava")
    (folder / "chat_template.jinja").write_text(HOSTILE["loops in loops"][0])
    stage = ChatCaption(ChatCaptionConfig(model=str(folder)))
    with pytest.raises(ConfigError, match="its chat template has not ended after 215600 steps"):
        stage.load()
