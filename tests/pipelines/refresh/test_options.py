"""The section `refresh` of a config."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from florilegium.engine.core.errors import ConfigError
from florilegium.engine.planning.config import RunConfig, validated
from florilegium.pipelines.refine.config import RefineConfig
from florilegium.pipelines.refresh.options import Hook, load_run, refuse_commands

RUN: dict[str, Any] = {"source": "a", "output": "b", "specialists": {"rapidocr": None}}


def load(**section: Any) -> Any:
    return load_run({**RUN, "refresh": section}, where="c.yaml")


def test_a_run_does_not_have_the_section() -> None:
    run, options = load(limits={"min_images": 3})
    assert type(run) is RunConfig
    assert run == validated(RunConfig, RUN, where="c.yaml")
    assert options.limits.min_images == 3


def test_a_config_without_the_section_has_no_limit_and_no_hook() -> None:
    _, options = load_run(RUN, where="c.yaml")
    assert options.notify == ()
    assert load_run({**RUN, "refresh": None}, where="c.yaml")[1] == options


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"limit": {}}, r"unknown key 'refresh.limit', did you mean 'limits'\?"),
        ({"limits": {"max_drop": 1}}, r"unknown key 'refresh.limits.max_drop', did you mean"),
        ({"limits": {"max_drift": 2}}, r"refresh.limits.max_drift = 2"),
        ({"limits": {"max_annotation_change": {"capton": 1}}}, r"did you mean 'caption'\?"),
        ({"limits": {"max_annotation_change": {"caption": -1}}}, r"caption: -1 is below 0"),
        ({"notify": {}}, "give one of `command`, `webhook` and `webhook_env`"),
        ({"notify": {"command": "a", "webhook": "http://b"}}, "give one of `command`"),
        ({"notify": {"command": "a", "token_env": "T"}}, "token_env is for a webhook"),
        ({"notify": {"webhook": "https://a/b?sig=c"}}, "webhook"),
        ({"notify": {"webhook": "ftp://a"}}, "is no URL of a service"),
        ({"notify": {"webhook": "https://u:p@a"}}, "a user or a password"),
        ({"notify": {"command": "a", "on": "sometimes"}}, "refresh.notify.0.on"),
    ],
)
def test_a_wrong_section_is_refused(section: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(**section)


def test_one_hook_or_more() -> None:
    _, options = load(notify={"command": ["mail", "me"], "on": "held_back"})
    assert options.notify == (Hook(command=("mail", "me"), on=("held_back",)),)
    _, options = load(notify=[{"command": "a"}, {"webhook_env": "HOOK"}])
    assert len(options.notify) == 2


def test_a_program_is_refused_where_plugins_are() -> None:
    _, options = load(notify={"webhook": "https://hooks.example/1"})
    refuse_commands(options)
    _, options = load(notify={"command": ["rm", "-r"]})
    with pytest.raises(ConfigError, match=r"refresh.notify.command = .*rm.* runs a program"):
        refuse_commands(options)


def test_a_refinement_has_no_such_section() -> None:
    document = {**RUN, "refine": {}, "refresh": {}}
    with pytest.raises(ConfigError, match="a refinement has no `refresh`"):
        validated(RefineConfig, document, where="c.yaml")


def test_the_shipped_cluster_config_has_the_section() -> None:
    from florilegium.engine.planning.config import load_document

    document = load_document(Path("configs/cluster.yaml"))
    assert load_run(document, where="cluster")[1].limits.max_dropped_share is not None
