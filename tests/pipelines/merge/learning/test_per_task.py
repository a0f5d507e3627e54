"""What is learned and how it is measured, worked out by hand: no scene judges itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.errors import ConfigError
from florilegium.pipelines.merge.calibration import Calibration, TaskCalibration
from florilegium.pipelines.merge.learning import fit as fit_module
from florilegium.pipelines.merge.learning.audit import Audit
from florilegium.pipelines.merge.learning.fit import FOLDS, fit
from florilegium.pipelines.merge.learning.per_task import (
    MIN_AUDITED,
    MIN_NAMED,
    ONE_CLASS_ONLY,
    TOO_FEW_AUDITED,
    Scene,
)
from florilegium.pipelines.merge.stage import Merge, MergeConfig
from tests.pipelines.merge.voters import Scene as Drawn
from tests.pipelines.merge.voters import sample_of, voted

TASK = "object_detection"


def drawn(number: int, *annotations: Annotation) -> Drawn:
    return Drawn(key=f"{number:06d}", annotations=annotations, things=(), width=200, height=100)


def learned(
    scenes: Sequence[Drawn], right: dict[str, bool], *, task: str = TASK, **options: Any
) -> TaskCalibration:
    given: dict[str, Any] = {"voters": ("a", "b"), "tasks": (task,), **options}
    return fit(scenes, Audit(right=right), **given).tasks[task]


def at_random(count: int, *, task: str = TASK) -> tuple[list[Drawn], dict[str, bool]]:
    """Scenes of five statements each, right or wrong by chance: nothing can be learned of them."""
    rng = np.random.default_rng(1)
    scenes, right = [], {}
    for number in range(count):
        ones = []
        for place in range(5):
            name, left = f"{number}/{place}", 40.0 * place
            is_text = task == "caption"
            one = voted(*(() if is_text else (left, 0.0, left + 30, 30.0)), task=task, id=name)
            changes = {"kind": "text", "text": f"{name} words"} if is_text else {}
            ones.append(replace(one, **changes, specialist="ab"[place % 2],
                                label=str(rng.choice(["star", "ring"])),
                                score=round(rng.random(), 3)))  # fmt: skip
            right[name] = bool(rng.random() < 0.5)
        scenes.append(drawn(number, *ones))
    return scenes, right


@pytest.mark.parametrize(("task", "judge"), [(TASK, "_merged"), ("caption", "_unmerged")])
def test_each_scene_is_judged_once_by_what_the_others_taught(
    monkeypatch: pytest.MonkeyPatch, task: str, judge: str
) -> None:
    taught: list[tuple[TaskCalibration, list[Scene]]] = []
    judged: list[tuple[Scene, TaskCalibration]] = []
    learn, real = fit_module.learn, getattr(fit_module, judge)

    def learning(scenes: Sequence[Scene], *rest: Any) -> TaskCalibration:
        taught.append((learn(scenes, *rest), list(scenes)))
        return taught[-1][0]

    def judging(scene: Scene, model: TaskCalibration) -> Any:
        judged.append((scene, model))
        return real(scene, model)

    monkeypatch.setattr(fit_module, "learn", learning)
    monkeypatch.setattr(fit_module, judge, judging)
    scenes, right = at_random(13, task=task)
    learned(scenes, right, task=task)
    (_, everything), *folds = taught
    assert len(everything) == 13
    assert len(folds) == FOLDS
    assert {id(scene) for scene, _ in judged} == {id(scene) for scene in everything}
    assert len(judged) == 13
    for scene, model in judged:
        (seen,) = (scenes for one, scenes in folds if one is model)
        assert not any(one is scene for one in seen)
        assert 10 <= len(seen) <= 11, "all but a fifth"


def test_where_nothing_can_be_learned_the_measures_say_so() -> None:
    """On random verdicts a model that is judged by what it learned of looks better than chance."""
    found = learned(*at_random(12))
    assert found.fusion is not None
    assert 0.4 < found.precision.share < 0.6
    assert found.ece > 0.1


def test_samples_are_taken_by_their_keys_in_whatever_order_they_come() -> None:
    scenes, right = at_random(12)
    others = scenes[6:] + scenes[:6]  # reversed, the folds would be the same
    assert learned(others, right) == learned(scenes, right)


def twice(number: int) -> tuple[Drawn, Drawn, dict[str, bool]]:
    """A star that one voter draws twice, less than half over each other, and a ring that is not
    there; of an earlier round the whole star."""
    whole = voted(10, 10, 30, 20, label="star", id=f"{number}/whole", specialist="a")
    now = drawn(
        number,
        voted(10, 10, 24, 20, label="star", id=f"{number}/left", specialist="a", score=0.9),
        voted(16, 10, 30, 20, label="star", id=f"{number}/right", specialist="a", score=0.9),
        voted(60, 60, 90, 90, label="ring", id=f"{number}/ring", specialist="b", score=0.5),
    )
    return now, drawn(number, whole), {f"{number}/whole": True, f"{number}/ring": False}


def test_the_second_statement_of_one_thing_is_one_too_many() -> None:
    now, earlier, right = zip(*map(twice, range(20)), strict=True)
    found = learned(now, {name: one for each in right for name, one in each.items()},
                    earlier=earlier)  # fmt: skip
    # Of 40 stars 20 are right, the rings are below the threshold.
    assert (found.precision.right, found.precision.audited, found.recall) == (20, 40, 1.0)
    # The surer of each two is the right one, so the best F1 is that of the first 20: 1.
    assert found.least_confidence == 0.5
    # Taught that every star is right, it is sure of 40.
    assert found.ece == pytest.approx(0.5, abs=0.05)
    assert found.voters["a"].precision.audited == 40


def outcome(confidence: Sequence[float], right: Sequence[bool], things: int) -> Any:
    return fit_module._Outcome(
        confidence=np.array(confidence), is_right=np.array(right, dtype=bool), things=things
    )


def test_the_threshold_is_half_of_the_best_f1_over_what_was_held_out() -> None:
    best = fit_module._best_threshold
    # From the surest on: 2 x 1 / (1 + 3), 2 x 1 / (2 + 3), 2 x 2 / (3 + 3).
    assert best(outcome([0.7, 0.9, 0.8], [True, True, False], 3)) == pytest.approx(1 / 3)
    assert best(outcome([0.9], [True], 1)) == 0.5
    assert best(outcome([0.7, 0.9], [False, False], 0)) == 0
    assert best(outcome([], [], 2)) == 0
    # Equals stay in their order: the 30 right ones of the first 60, before 30 less sure ones.
    mixed = [0.5, 0.5, 0.4] * 30
    is_right = [place < 45 and claim == 0.5 for place, claim in enumerate(mixed)]
    assert best(outcome(mixed, is_right, 30)) == pytest.approx(0.5)


def test_measures_are_those_of_statements_from_the_threshold_on() -> None:
    confidence, right = [0.9, 0.4, 0.39, 0.6], [True, True, True, False]
    found = fit_module._measured(outcome(confidence, right, 5), 0.4)
    assert (found["precision"].right, found["precision"].audited) == (2, 3)
    assert found["recall"] == pytest.approx(2 / 5)
    # Three bins of one: 0.6, 0.6 and 0.1 off.
    assert found["ece"] == pytest.approx((0.6 + 0.6 + 0.1) / 3)
    assert found["least_confidence"] == 0.4
    assert fit_module._measured(outcome(confidence, right, 1), 0.4)["recall"] == 1.0
    assert fit_module._measured(outcome(confidence, right, 0), 0.4)["recall"] is None


def by_score(count: int) -> tuple[list[Drawn], dict[str, bool]]:
    """Two voters of which one is right when it is sure, and the other draws aside."""
    scenes, right = [], {}
    for number in range(count):
        is_right = number % 3 > 0
        score = (0.7 if number % 5 else 0.3) if is_right else (0.2 if number % 4 else 0.6)
        boxes = ((10.0, 10.0, 50.0, 30.0), (14.0, 10.0, 54.0, 30.0))
        ones = [voted(*box, id=f"{number}/{who}", specialist=who, score=score)
                for who, box in zip("ab", boxes, strict=True)]  # fmt: skip
        other = voted(60, 40, 90, 80, id=f"{number}/other", specialist="b", score=1 - score)
        scenes.append(drawn(number, *ones, other))
        right |= {f"{number}/a": is_right, f"{number}/b": is_right}
        right[f"{number}/other"] = number % 2 == 0
    return scenes, right


def test_what_is_measured_is_what_the_stage_will_say() -> None:
    scenes, right = by_score(40)
    model = learned(scenes, right)
    assert abs(model.fusion.weights["agrees_logit/a"]) > 0.1, "scores count"
    assert model.voters["a"].slope > 0
    weighted = model.model_copy(
        update={
            "voters": {**model.voters, "a": model.voters["a"].model_copy(update={"weight": 9.0})}
        }
    )
    stage = Merge(MergeConfig(tasks=(TASK,), least_confidence=0.0))
    stage._calibration = Calibration(voters=("a", "b"), tasks={TASK: weighted})
    audit = Audit(right=right)
    for one in scenes[:6]:
        scene = fit_module._scene(one, audit.of(one.annotations), audit, TASK, ("a", "b"))
        merged = stage.predict([sample_of(*one.annotations, size_wh=(200, 100))])[0]
        found = fit_module._merged(scene, weighted)
        assert found.confidence == pytest.approx([each.confidence for each in merged], abs=1e-5)
        assert found.things == scene.findings.things


def test_voters_weigh_by_how_exactly_they_draw_the_same_things() -> None:
    """Errors as in the tests of localisation: 2, 1 and 0 pixels, each along another axis."""
    errors = {"a": (2.0, 0, 2, 0), "b": (0.0, 1, 0, 1), "c": (0.0, 0, 0, 0)}
    scenes, right = [], {}
    for number in range(5):
        ones = []
        for place, left in enumerate((10.0, 100.0)):
            box = np.array([left, 20, left + 40, 30]) + 3 * number
            ones += [voted(*(box + shift).tolist(), id=f"{number}/{place}/{who}", specialist=who)
                     for who, shift in errors.items()]  # fmt: skip
        whole = Annotation(kind="text", task="caption", text="A cup.", id=f"{number}/text")
        scenes.append(drawn(number, *ones[::-1], whole))
        right |= dict.fromkeys((one.id for one in ones), True)
    found = learned(scenes, right, voters=("a", "b", "c")).voters
    assert [found[name].weight for name in "abc"] == pytest.approx([0.2, 0.8, 2.0], abs=1e-6)
    assert learned(*captions([0.5] * 20, [True] * 20), task="caption").voters["a"].weight == 1


def captions(scores: Sequence[float], right: Sequence[bool]) -> tuple[list[Drawn], dict[str, bool]]:
    scenes = [
        drawn(number, Annotation(kind="text", task="caption", text=f"words {number}",
                                 id=f"{number}", specialist="a", score=score))
        for number, score in enumerate(scores)
    ]  # fmt: skip
    return scenes, {f"{number}": is_right for number, is_right in enumerate(right)}


def test_all_captions_are_measured_whatever_their_confidence() -> None:
    found = learned(*captions([0.9] * 20, [True] * 5 + [False] * 15), task="caption")
    assert (found.least_confidence, found.fusion, found.reason) == (0.0, None, "")
    assert (found.precision.right, found.precision.audited) == (5, 20)
    assert found.recall == 1.0
    prior = (5 + 1) / (20 + 2)
    probability = found.voters["a"].probability(np.array([0.9]))
    assert probability == pytest.approx([(5 + 2 * prior) / 22], abs=1e-6)
    # By what the words are worth, p: of ten bins of two five hold a right one: 5 (1 - 2p) + 5 x 2p.
    assert found.ece == pytest.approx(5 / 20)


def test_what_is_fused_needs_enough_that_was_judged() -> None:
    def some(count: int) -> TaskCalibration:
        scenes = [
            drawn(number, voted(10, 10, 40, 40, id=f"{number}", specialist="a", label="star"))
            for number in range(count)
        ]
        return learned(scenes, {f"{number}": number % 2 == 0 for number in range(count)})

    assert MIN_AUDITED == 30
    assert some(29).reason == TOO_FEW_AUDITED
    assert (some(30).reason, some(30).fusion is None) == ("", False)
    # Each fifth is held out of 30: 24 others do not suffice, so nothing is measured.
    assert some(30).precision.audited == 0
    # Of 38, 30 remain where 8 are held out and 31 where it is 7.
    assert some(38).precision.audited > 0


def test_one_wrong_or_one_right_statement_is_enough_for_two_classes() -> None:
    def with_right(right: int) -> str:
        scenes = [
            drawn(number, voted(10, 10, 40, 40, id=f"{number}", specialist="a"))
            for number in range(40)
        ]
        return learned(scenes, {f"{number}": number < right for number in range(40)}).reason

    assert [with_right(right) for right in (0, 1, 39, 40)] == [
        ONE_CLASS_ONLY, "", "", ONE_CLASS_ONLY,
    ]  # fmt: skip


def test_a_name_has_features_from_so_many_judged_statements_on() -> None:
    labels = ["cross"] * 4 + ["star"] * 5 + [""] * 6 + ["ring"] * 25
    scenes = [
        drawn(number, voted(10, 10, 40, 40, label=label, id=f"{number}", specialist="a"))
        for number, label in enumerate(labels)
    ]
    right = {f"{number}": number % 2 == 0 for number in range(len(labels))}
    found = learned(scenes, right)
    assert MIN_NAMED == 5
    assert found.fusion.names == ("ring", "star"), "sorted, and none without letters"


def test_a_voter_of_which_nothing_is_known_is_as_good_as_all_that_was_judged() -> None:
    scenes = [
        drawn(number, voted(10, 10, 40, 40, id=f"{number}", specialist="a", score=None))
        for number in range(12)
    ]
    found = learned(scenes, {f"{number}": number < 3 for number in range(10)})
    prior = (3 + 1) / (10 + 2)
    strange = found.voters["b"]
    assert strange.probability(np.array([np.nan, 0.9])) == pytest.approx([prior] * 2, abs=1e-6)
    # Three of ten, and two more of its own share.
    assert found.voters["a"].probability(np.array([np.nan])) == pytest.approx([0.3], abs=1e-6)
    assert (found.voters["a"].precision.right, found.voters["a"].precision.audited) == (3, 10)
    assert found.voters["b"].precision.share is None


def test_things_are_seen_in_the_image_of_their_own_size() -> None:
    """Right is what touches the border of 200 x 100, wrong what ends ten pixels before it."""
    scenes, right = [], {}
    for number in range(40):
        is_right = number % 2 == 0
        edge = 200 if is_right else 190
        box = voted(edge - 50, 20, edge, 60, id=f"{number}", specialist="a", score=None)
        scenes.append(drawn(number, box))
        right[f"{number}"] = is_right
    assert learned(scenes, right).fusion.weights["on_edge"] > 1


def test_each_task_learns_from_its_own_statements() -> None:
    scenes = [
        drawn(
            number,
            voted(10, 10, 40, 40, id=f"{number}/box", specialist="a"),
            Annotation(kind="text", task="caption", text="A cup.", id=f"{number}/caption",
                       specialist="a"),
        )
        for number in range(20)
    ]  # fmt: skip
    right = {f"{number}/box": number < 5 for number in range(20)}
    right |= {f"{number}/caption": number < 15 for number in range(20)}
    found = fit(scenes, Audit(right=right), voters=("a",), tasks=(TASK, "caption"))
    assert list(found.tasks) == [TASK, "caption"]
    assert found.tasks[TASK].voters["a"].precision.share == 0.25
    assert found.tasks["caption"].voters["a"].precision.share == 0.75


def test_a_calibration_tells_which_samples_and_names_it_knows() -> None:
    scenes = [
        drawn(2, voted(0, 0, 9, 9, id="2", label=" Star ", specialist="a"),
              voted(0, 0, 9, 9, id="2b", label="", specialist="a"),
              voted(0, 0, 9, 9, id="2c", label="tower", task="region_proposal", specialist="a")),
        drawn(1, voted(0, 0, 9, 9, id="1", label="ring", specialist="stranger",
                      task="open_vocabulary_detection")),
        drawn(0, voted(0, 0, 9, 9, id="0", label="unseen", specialist="a")),
    ]  # fmt: skip
    found: Calibration = fit(
        scenes, Audit(right={"2": True, "1": False}), voters=("b", "a"), tasks=(TASK,)
    )
    assert found.names == ("ring", "star")
    assert (found.audited_samples, found.voters) == (2, ("b", "a"))
    with pytest.raises(ConfigError, match="do not exist here: 3"):
        fit(scenes, Audit(right={"2": True, "3": False}), voters=("a",), tasks=(TASK,))


def test_a_sample_that_is_no_longer_there_teaches_nothing_and_its_findings_are_known() -> None:
    gone = drawn(7, voted(0, 0, 9, 9, id="gone", specialist="a"))
    here = drawn(8, voted(0, 0, 9, 9, id="here", specialist="a"))
    found = fit(
        [here],
        Audit(right={"gone": True, "here": True}),
        voters=("a",),
        tasks=(TASK,),
        earlier=[gone],
    )
    assert found.audited_samples == 1
    assert found.tasks[TASK].voters["a"].precision.audited == 1
