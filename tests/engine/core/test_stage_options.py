"""Options as datasets store them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from florilegium.engine.core.stage import ADDED, CONTENT, RUNTIME, THRESHOLD, StageConfig


class Options(StageConfig):
    """Options with marks."""

    prompt: str = "what?"
    least: Annotated[float, THRESHOLD] = 0.5
    others: Annotated[dict[str, str], ADDED] = Field(default_factory=dict)
    most: Annotated[float | None, THRESHOLD, ADDED] = None


COMMON = {"batch_size", "num_gpus", "workers", "call_seconds", "round"}


def test_an_added_option_is_stored_where_it_is_not_the_default() -> None:
    assert set(Options().stored()) == {"prompt", "least", *COMMON}
    assert set(Options(others={}, most=None).stored()) == {"prompt", "least", *COMMON}
    given = Options(others={"a": "b"}, most=1.0)
    assert given.stored(COMMON) == {
        "prompt": "what?", "least": 0.5, "others": {"a": "b"}, "most": 1.0,
    }  # fmt: skip


def test_options_are_found_by_any_of_their_marks() -> None:
    assert Options().marked((THRESHOLD, CONTENT)) == {"least"}
    assert Options(most=1.0).marked((THRESHOLD,)) == {"least", "most"}
    assert Options().marked((RUNTIME,)) == COMMON - {"round"}
