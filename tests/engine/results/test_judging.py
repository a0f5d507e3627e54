from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.judgement import Statements, Verdicts
from florilegium.engine.core.rows import Measurement
from florilegium.engine.core.stage import Filter, StageConfig
from florilegium.engine.planning.graph import Graph, Node
from florilegium.engine.results.contract import VERDICT_TYPE
from florilegium.engine.results.judging import Judged, judge
from florilegium.engine.results.layer import make_layer
from tests.building import BRIGHTEST
from tests.engine.by_hand import Answers, caption, layers_of, planned, record, region, shard_of

Rule = Callable[[Statements, Verdicts], None]


class Ruling(Filter[StageConfig]):
    """Judges by a rule."""

    def __init__(self, rule: Rule) -> None:
        super().__init__(StageConfig())
        self.rule = rule

    def judge(self, statements: Statements) -> Verdicts:
        verdicts = Verdicts(len(statements))
        self.rule(statements, verdicts)
        return verdicts


class Measured(Ruling):
    """Judges by a rule over numbers that were stored."""

    measured = ("size", "weight")


def graph_of(*rules: Rule, kind: type[Ruling] = Ruling) -> Graph:
    graph = planned(specialists=BRIGHTEST)
    filters = tuple(
        Node[Any](
            name=f"f{place}",
            use="",
            stage=kind(rule),
            upstream={"bright": frozenset()},
            fingerprint=f"{place}",
        )
        for place, rule in enumerate(rules)
    )
    return Graph(specialists=graph.specialists, filters=filters)


def drop(*texts: str, reason: str = "bad") -> Rule:
    def rule(statements: Statements, verdicts: Verdicts) -> None:
        verdicts.drop(np.isin(statements.texts("text").astype(str), texts), reason)

    return rule


def judged(graph: Graph, annotations: Answers, **changes: Any) -> Judged:
    shard = shard_of(3, labels=changes.pop("labels", None))
    layers = layers_of(graph, shard, {"bright": annotations}) | changes.pop("layers", {})
    return judge(shard, graph, layers, frozenset(changes.pop("without", ())))


def said_tree() -> list[Annotation]:
    """A caption, its phrase, the phrase's box, the box's box; and a stranger."""
    return [
        region(text="great-grandchild", parent_id="grandchild"),
        region(text="grandchild", id="grandchild", parent_id="child"),
        caption("stranger"),
        region(text="child", id="child", parent_id="root"),
        caption("root", id="root"),
    ]


def by_text(found: Judged) -> dict[str, list[tuple[str, bool, str]]]:
    """Return the verdicts on each text."""
    return {
        text: [(one["filter"], one["keep"], one["reason"]) for one in verdicts]
        for text, verdicts in zip(
            found.table.column("text").to_pylist(), found.verdicts.to_pylist(), strict=True
        )
    }


def kept(found: Judged) -> list[str]:
    texts = found.table.column("text").to_pylist()
    return [text for text, keep in zip(texts, found.kept, strict=True) if keep]


@pytest.mark.parametrize("sample", [0, 2])
def test_what_was_made_from_a_dropped_annotation_is_dropped_over_all_generations(
    sample: int,
) -> None:
    found = judged(graph_of(drop("root")), {sample: said_tree()})
    orphan = [("lineage", False, "parent_dropped")]
    assert kept(found) == ["stranger"]
    assert by_text(found) == {
        "root": [("f0", False, "bad")],
        "child": orphan,
        "grandchild": orphan,
        "great-grandchild": orphan,
        "stranger": [],
    }
    assert found.drops == {("f0", "bad"): 1, ("lineage", "parent_dropped"): 3}


def test_a_drop_in_the_middle_leaves_the_ancestors() -> None:
    found = judged(graph_of(drop("child")), {0: said_tree()})
    assert sorted(kept(found)) == ["root", "stranger"]
    assert found.drops[("lineage", "parent_dropped")] == 2


def test_a_parent_of_another_sample_changes_nothing() -> None:
    found = judged(graph_of(drop("root")), {0: [caption("root")], 1: said_tree()[:1]})
    assert kept(found) == ["great-grandchild"]


def test_a_row_has_one_reason_and_the_verdicts_of_those_who_judged_it() -> None:
    def look(statements: Statements, verdicts: Verdicts) -> None:
        verdicts.measure("length", np.arange(len(statements)) + 0.5, statements.is_live)

    found = judged(graph_of(look, drop("b"), drop("a", "b", reason="worse"), look),
                   {0: [caption("a"), caption("b"), caption("c")]})  # fmt: skip
    assert by_text(found) == {
        "a": [("f0", True, ""), ("f2", False, "worse")],
        "b": [("f0", True, ""), ("f1", False, "bad")],
        "c": [("f0", True, ""), ("f3", True, "")],
    }
    assert found.drops == {("f1", "bad"): 1, ("f2", "worse"): 1}
    measured = [one["measurement"] for one in found.verdicts.to_pylist()[2]]
    assert measured == [[{"name": "length", "value": 2.5}]] * 2


def measure_and_drop(seed: int, spoken: list[tuple[str, Verdicts]]) -> Rule:
    """Judge at random: some rows, two numbers with gaps, the later name first."""
    random = np.random.default_rng(seed)

    def rule(statements: Statements, verdicts: Verdicts) -> None:
        for name in ("width", "area"):
            numbers = random.random(len(statements))
            numbers[random.random(len(statements)) < 0.3] = np.nan
            verdicts.measure(name, numbers, random.random(len(statements)) < 0.4)
        for reason in ("odd", "even"):
            verdicts.drop(random.random(len(statements)) < 0.1, reason)
        spoken.append((f"f{len(spoken)}", verdicts))

    return rule


def test_verdicts_are_those_of_a_row_by_row_account() -> None:
    spoken: list[tuple[str, Verdicts]] = []
    rules = [measure_and_drop(seed, spoken) for seed in range(3)]
    found = judged(graph_of(*rules), {number: [region("x")] * 40 for number in range(3)})
    expected = [
        [
            {
                "filter": name,
                "keep": not verdicts.reason[row],
                "reason": verdicts.reason[row],
                "measurement": [
                    {"name": key, "value": column[row]}
                    for key, column in verdicts.measurements.items()
                    if not np.isnan(column[row])
                ],
            }
            for name, verdicts in spoken
            if verdicts.is_judged[row]
        ]
        for row in range(120)
    ]
    assert found.verdicts.to_pylist() == expected
    assert found.verdicts.type == pa.list_(VERDICT_TYPE)
    assert {len(verdicts) for verdicts in expected} == {0, 1, 2, 3}


def box(text: str, left: float = 0, label: str = "cat", **changes: Any) -> Annotation:
    values = {"text": text, "box_xyxy": (left, 0.0, left + 20, 20.0), **changes}
    return region(label, **values)


def phrase(text: str, left: float = 0, label: str = "cat", **changes: Any) -> Annotation:
    grounding = {"kind": "phrase", "task": "phrase_grounding"}
    return replace(box(text, left, label), **{**grounding, **changes})


def test_a_phrase_is_dropped_with_the_region_whose_box_and_label_it_bears() -> None:
    annotations = [box("dropped"), box("other", 30), phrase("a cat"), phrase("a second cat", 30)]
    found = judged(graph_of(drop("dropped")), {0: annotations})
    assert kept(found) == ["other", "a second cat"]
    assert by_text(found)["a cat"] == [("lineage", False, "parent_dropped")]
    assert found.drops == {("f0", "bad"): 1, ("lineage", "parent_dropped"): 1}


def test_a_phrase_stays_while_any_region_with_its_box_and_label_is_live() -> None:
    annotations = [box("dropped"), box("twin"), phrase("a cat")]
    assert kept(judged(graph_of(drop("dropped")), {0: annotations})) == ["twin", "a cat"]
    both = judged(graph_of(drop("dropped"), drop("twin")), {0: annotations})
    assert both.drops == {("f0", "bad"): 1, ("f1", "bad"): 1, ("lineage", "parent_dropped"): 1}


@pytest.mark.parametrize(
    "stranger", [box("stranger", 0.01), box("stranger", label="dog"), phrase("stranger")]
)
def test_what_differs_in_box_label_or_kind_does_not_keep_a_phrase(stranger: Annotation) -> None:
    found = judged(graph_of(drop("dropped")), {0: [box("dropped"), stranger, phrase("a cat")]})
    assert "a cat" not in kept(found)


def test_a_region_of_another_sample_neither_keeps_nor_drops_a_phrase() -> None:
    annotations = {
        0: [box("dropped"), phrase("a")],
        1: [box("live"), phrase("b")],
        2: [phrase("c")],
    }
    assert kept(judged(graph_of(drop("dropped")), annotations)) == ["live", "b", "c"]


def test_a_phrase_without_a_region_of_its_own_stays() -> None:
    boxless = phrase("thought", box_xyxy=())
    annotations = [box("dropped", box_xyxy=()), boxless, phrase("elsewhere", 30)]
    assert kept(judged(graph_of(drop("dropped")), {0: annotations})) == ["thought", "elsewhere"]


def test_what_was_made_from_an_orphaned_phrase_goes_with_it() -> None:
    annotations = [
        box("dropped", id="box"),
        box("part", 30, parent_id="box"),
        phrase("a part", 30, id="phrase"),
        box("mask", 50, parent_id="phrase"),
        phrase("a mask", 50),
    ]
    found = judged(graph_of(drop("dropped")), {0: annotations})
    assert kept(found) == []
    assert found.drops[("lineage", "parent_dropped")] == 4


@pytest.mark.parametrize(("left", "survivors"), [(0, ["best", "a cat"]), (1, ["best"])])
def test_the_phrase_of_a_merged_box_stays_if_the_survivor_has_the_same_box(
    left: float, survivors: list[str]
) -> None:
    def merge(statements: Statements, verdicts: Verdicts) -> None:
        verdicts.merge(0, 1)
        verdicts.drop(np.arange(len(statements)) == 1, "nms_merged")

    found = judged(graph_of(merge), {0: [box("best", left), box("merged"), phrase("a cat")]})
    assert kept(found) == survivors


def test_a_later_filter_sees_who_is_still_live() -> None:
    seen: list[list[bool]] = []

    def look(statements: Statements, verdicts: Verdicts) -> None:
        seen.append(statements.is_live.tolist())

    judged(graph_of(look, drop("root"), look), {0: said_tree()})
    assert seen == [[True] * 5, [False, False, True, False, False]]


def test_merges_are_written_as_ids_and_add_up_over_filters() -> None:
    def merge(kept: int, merged: int) -> Rule:
        def rule(statements: Statements, verdicts: Verdicts) -> None:
            verdicts.merge(kept, merged)
            verdicts.drop(np.arange(len(statements)) == merged, "duplicate")

        return rule

    found = judged(graph_of(merge(0, 1), merge(0, 2)), {1: [region("x")] * 3})
    ids = found.table.column("id").to_pylist()
    assert found.table.column("merged_from").to_pylist() == [ids[1:], [], []]
    assert found.kept.tolist() == [True, False, False]


def test_what_a_source_had_merged_is_kept() -> None:
    old = replace(region("x"), merged_from=("before",))

    def merge(statements: Statements, verdicts: Verdicts) -> None:
        verdicts.merge(0, 1)

    found = judged(graph_of(merge), {}, labels={0: [old, region("y", id="other")]})
    assert found.table.column("merged_from").to_pylist()[0] == ["before", "other"]


def measurements(graph: Graph, rows: Mapping[int, Sequence[Measurement]]) -> dict[str, Any]:
    return {"f0": make_layer(graph.filters[0], rows, ())}


def test_stored_measurements_find_their_rows_whatever_their_order() -> None:
    seen: dict[str, list[float]] = {}

    def look(statements: Statements, verdicts: Verdicts) -> None:
        seen.update({name: column.tolist() for name, column in statements.measurements.items()})

    graph = graph_of(look, kind=Measured)
    annotations = {0: [region("a"), region("b")], 2: [region("c")]}
    ids = judged(graph, annotations).table.column("id").to_pylist()
    rows = {
        2: [Measurement(ids[2], {"size": 3.0})],
        0: [Measurement(ids[1], {"size": 2.0, "weight": 20.0}), Measurement("gone", {"size": 9.0})],
    }
    judged(graph, annotations, layers=measurements(graph, rows))
    np.testing.assert_equal(seen["size"], [np.nan, 2.0, 3.0])
    np.testing.assert_equal(seen["weight"], [np.nan, 20.0, np.nan])


def test_measurements_of_nothing_are_nan_for_every_row() -> None:
    seen: list[float] = []

    def look(statements: Statements, verdicts: Verdicts) -> None:
        seen.extend(statements.measurements["size"].tolist())

    graph = graph_of(look, kind=Measured)
    judged(graph, {0: [region(), region()]}, layers=measurements(graph, {}))
    np.testing.assert_equal(seen, [np.nan, np.nan])


def test_labels_of_the_source_come_first_and_are_judged_too() -> None:
    label = caption("label", id="l", specialist="source")
    found = judged(graph_of(drop("label")), {0: [caption("kept")], 1: []}, labels={0: [label]})
    assert found.table.column("text").to_pylist() == ["label", "kept"]
    assert kept(found) == ["kept"]


def test_rows_are_in_the_order_of_samples_and_failed_samples_are_left_out() -> None:
    annotations: Answers = {2: [caption("late")], 0: [caption("early")], 1: [caption("failed")]}
    found = judged(graph_of(), annotations, without=[1])
    assert found.table.column("text").to_pylist() == ["early", "late"]
    assert found.table.column("sample").to_pylist() == [0, 2]


def test_a_failed_sample_is_left_out_of_what_every_stage_said() -> None:
    graph = planned(specialists={**BRIGHTEST, "other": BRIGHTEST["bright"]})
    label = caption("label", id="l", specialist="source")
    shard = shard_of(4, labels={3: [label]})
    annotations = {
        "bright": {number: [caption(f"bright {number}")] for number in (0, 1, 3)},
        "other": {number: [caption(f"other {number}")] for number in (0, 1, 2)},
    }
    found = judge(shard, graph, layers_of(graph, shard, annotations), frozenset([0, 2]))
    assert found.table.column("text").to_pylist() == ["bright 1", "other 1", "label", "bright 3"]
    assert found.table.column("sample").to_pylist() == [1, 1, 3, 3]


def test_image_sizes_are_those_of_each_row() -> None:
    seen: list[np.ndarray] = []

    def look(statements: Statements, verdicts: Verdicts) -> None:
        seen.append(statements.image_wh)

    graph, shard = graph_of(look), shard_of(3)
    sizes = ((96, 64), (10, 20), (300, 7))
    records = [record(number, width=width, height=height)
               for number, (width, height) in enumerate(sizes)]  # fmt: skip
    shard = replace(shard, records=tuple(records))
    layers = layers_of(graph, shard, {"bright": {2: [caption(), caption()], 0: [caption()]}})
    judge(shard, graph, layers, frozenset())
    assert seen[0].tolist() == [[96, 64], [300, 7], [300, 7]]
    assert seen[0].dtype == np.float64


@pytest.mark.parametrize(
    "filters", [{}, dict.fromkeys(("text_filter", "region_score", "nms", "blacklist"))]
)
def test_a_shard_about_which_nothing_was_said_is_judged(filters: dict[str, Any]) -> None:
    graph = planned(
        specialists={"a": {"use": "tests.stages:Describe"}, **BRIGHTEST}, filters=filters
    )
    shard = shard_of(2)
    layers = layers_of(graph, shard, {})
    for node in graph.filters:
        if node.stage.has_layer:
            layers[node.name] = make_layer(node, {}, ())
    found = judge(shard, graph, layers, frozenset())
    assert (found.table.num_rows, len(found.kept), len(found.verdicts)) == (0, 0, 0)


def test_an_answer_goes_with_any_of_the_annotations_that_it_needs() -> None:
    def answer(text: str, *names: str, **rest: Any) -> Annotation:
        fields = {"kind": "text", "task": "question_answer", "label": "yes", "text": text}
        return Annotation(
            **{**fields, "merged_from": names, "parent_id": "".join(names[:1]), **rest}
        )

    labels = {0: [region(text="cat", id="cat"), region(text="dog", id="dog")]}
    rows = [
        answer("both", "cat", "dog", id="both"),
        answer("again", parent_id="both"),
        answer("cat alone", "cat"),
        caption("merged", merged_from=("cat", "dog")),
    ]
    found = judged(graph_of(drop("dog")), {0: rows}, labels=labels)
    assert kept(found) == ["cat", "cat alone", "merged"]
    assert found.drops[("lineage", "parent_dropped")] == 2
    assert kept(judged(graph_of(drop("cat")), {0: rows}, labels=labels)) == ["dog", "merged"]


def settle(*texts: str, confidence: float = 1.0) -> Rule:
    def rule(statements: Statements, verdicts: Verdicts) -> None:
        verdicts.settle(np.isin(statements.texts("text").astype(str), texts), confidence)

    return rule


def test_what_is_settled_is_judged_no_more_and_has_its_confidence() -> None:
    found = judged(graph_of(settle("child"), drop("child", "stranger")), {0: said_tree()})
    assert "child" in kept(found)
    assert by_text(found)["child"] == [("f0", True, "")]
    assert found.drops == {("f1", "bad"): 1}
    confidence = dict(
        zip(*(found.table.column(name).to_pylist() for name in ("text", "confidence")), strict=True)
    )
    assert {text for text, value in confidence.items() if value is not None} == {"child"}
    assert confidence["child"] == 1.0


def test_a_settled_region_stays_without_its_parent_and_a_text_goes_with_it() -> None:
    found = judged(graph_of(settle("child", "stranger"), drop("root")), {0: said_tree()})
    assert sorted(kept(found)) == ["child", "grandchild", "great-grandchild", "stranger"]


def test_what_one_filter_drops_and_settles_is_dropped() -> None:
    def both(statements: Statements, verdicts: Verdicts) -> None:
        settle("child")(statements, verdicts)
        drop("child")(statements, verdicts)

    assert "child" not in kept(judged(graph_of(both, drop("child")), {0: said_tree()}))
