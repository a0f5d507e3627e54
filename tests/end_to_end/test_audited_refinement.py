"""From nothing to a refined dataset by way of an audit, as `docs/how-to/refine.md` has it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from florilegium.engine.results.dataset import open_dataset
from florilegium.pipelines.shape_world.score.audit import audit_from_truth
from florilegium.pipelines.shape_world.score.measure import truth_of
from tests.end_to_end.conftest import Command
from tests.end_to_end.refinement import SCENES, write_refinement

TINY = "package://florilegium/specialists/tiny_florence2"
TASKS = ["object_detection", "caption"]
SPECIALISTS = {
    "shapes_colour": {},
    "shapes_edges": {},
    "florence2": {"model": TINY, "tasks": ["caption"]},
    "boxes": {"use": "merge", "tasks": TASKS[:1], "reads": ["shapes_colour", "shapes_edges"]},
    "captions": {"use": "merge", "tasks": TASKS[1:], "reads": ["florence2", "boxes"]},
}
SUPERSEDED = {"superseded": {"by": {"boxes": TASKS[:1], "captions": TASKS[1:]}}}

pytestmark = [
    # Ray Data, which Ray Train imports, warns of its own defaults.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),
]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_refinement(
        tmp_path / "refine.yaml",
        tmp_path / "out",
        keys={"specialists": SPECIALISTS, "filters": SUPERSEDED},
        train={"tasks": dict.fromkeys(TASKS, 1)},
        students={"student": {"tasks": TASKS, "max_new_tokens": 24}},
        audit="",
    )


def rows_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def fill_in(file: Path) -> dict[str, bool]:
    """Answer as somebody who sees the pictures would; return the answers."""
    found = audit_from_truth(open_dataset(str(file.parent / "0")), truth_of([SCENES]))
    rows = [{**row, "right": found.right.get(row["id"])} for row in rows_of(file)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return {row["id"]: row["right"] for row in rows}


def test_an_audited_refinement_from_the_first_command_to_the_last(
    florilegium: Command, config: Path, tmp_path: Path
) -> None:
    out, audit = tmp_path / "out", tmp_path / "out/rounds/0/candidates/audit.jsonl"

    done = florilegium("refine", config, "--until", "candidates")
    assert done.code == 0, done.err
    assert f"candidates  {out}/rounds/0/candidates/0" in done.out
    assert f"audit       {audit}: 40 annotations of 6 samples, 0 answered" in done.out
    assert f"--set refine.audit={audit}" in done.out
    assert not (out / "rounds/0/manifest.json").exists()
    rows = rows_of(audit)
    assert {row["task"] for row in rows} == set(TASKS)
    assert {row["by"] for row in rows} == {"shapes_colour", "shapes_edges", "florence2"}
    assert {row["right"] for row in rows} == {None}
    assert all(len(row["box_xyxy"]) == 4 for row in rows if row["task"] == "object_detection")
    assert florilegium("verify", audit.parent / "0").code == 0
    assert f"ask about {audit.parent / '0'}" in florilegium("status", out).err

    unanswered = florilegium("refine", config, "--set", f"refine.audit={audit}")
    assert unanswered.code == 2
    assert "answers nothing yet: put true or false" in unanswered.err

    answers = fill_in(audit)
    assert set(answers.values()) == {True, False}
    again = florilegium("refine", config, "--until", "candidates")
    assert "40 annotations of 6 samples, 40 answered" in again.out
    assert {row["id"]: row["right"] for row in rows_of(audit)} == answers

    done = florilegium("refine", config, "--set", f"refine.audit={audit}")
    assert done.code == 0, done.err
    assert done.out.count("by audit, ") == 2
    assert f"dataset  {out}, round 1" in done.out
    assert florilegium("verify", out).code == 0

    for dataset, folder in ((audit.parent / "0", "voters"), (out, "merged")):
        given = ("--format", "few_shot", "--set", f"audit={audit}")
        done = florilegium("export", dataset, *given, "--output", tmp_path / folder)
        assert done.code == 0, done.err
        right = {row["says"] for row in rows if row["task"] == "caption" and answers[row["id"]]}
        assert {row["text"] for row in rows_of(tmp_path / folder / "examples.jsonl")} == right

    assert "samples changed" in florilegium("diff", out, 0, 1).out
    scores = json.loads(florilegium("score", out, "--json").out)
    assert {name: score["samples"] for name, score in scores.items()} == {
        "round 0": 6,
        "round 1": 6,
    }

    training = tmp_path / "train.yaml"
    options = {"model": TINY, "tasks": dict.fromkeys(TASKS, 1), "steps": 2, "batch_size": 4}
    training.write_text(yaml.safe_dump({**options, "workers": 0}), encoding="utf-8")
    done = florilegium("train", out, training, "--output", tmp_path / "student")
    assert done.code == 0, done.err
    assert (tmp_path / "student" / "model.safetensors").exists()
    given = ("--format", "florence2", "--config", training)
    done = florilegium("export", out, *given, "--output", tmp_path / "lines")
    assert done.code == 0, done.err
    prefixes = {row["prefix"] for row in rows_of(tmp_path / "lines/train/annotations.jsonl")}
    assert prefixes == {"<OD>", "<CAPTION>"}


def test_no_rounds_and_no_audit_label_the_source_and_start_an_audit(
    florilegium: Command, config: Path, tmp_path: Path
) -> None:
    done = florilegium("refine", config, "--set", "refine.rounds=0")
    assert done.code == 0, done.err
    assert "round 0  boxes" in done.out
    assert "round 1" not in done.out
    assert (tmp_path / "out" / "manifest.json").exists()
    audit = tmp_path / "out/rounds/0/candidates/audit.jsonl"
    assert f"audit       {audit}: 40 annotations" in done.out
    assert len(rows_of(audit)) == 40


def test_an_audit_that_nobody_has_written_yet_says_how_it_is_started(
    florilegium: Command, config: Path, tmp_path: Path
) -> None:
    wanted = ("--set", f"refine.audit={tmp_path / 'audit.jsonl'}")
    done = florilegium("refine", config, *wanted)
    assert done.code == 2
    assert "--until candidates` makes a file to fill in" in done.err
    assert florilegium("refine", config, *wanted, "--until", "candidates").code == 0


def test_what_learns_from_no_audit_cannot_be_audited(florilegium: Command, config: Path) -> None:
    rules = [f"specialists.{name}.rule=union" for name in ("boxes", "captions")]
    options = [part for rule in rules for part in ("--set", rule)]
    done = florilegium("refine", config, "--until", "candidates", *options)
    assert done.code == 2
    assert "no stage of this config uses an audit" in done.err
