"""Which filters judge before which stage, and what that does to the names of layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from florilegium.engine.core.judgement import Statements, Verdicts
from florilegium.engine.core.rows import Measurement
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import Filter, StageConfig, maybe, one_of
from florilegium.engine.planning.gates import divided_stages, gate_digests
from florilegium.engine.planning.graph import Graph, Node
from tests.engine.by_hand import planned
from tests.enriching import scoring, stages

ENOUGH = {"enough": {"use": "tests.stages:BrightEnough"}}


class OfTexts(Filter[StageConfig]):
    """Measures descriptions; judges nothing."""

    judges_by = "annotation"
    reads = (one_of("region_description"),)
    measured = ("length",)

    def measure(self, samples: Sequence[Sample]) -> list[list[Measurement]]:
        return [[] for _ in samples]

    def judge(self, statements: Statements) -> Verdicts:
        return Verdicts(len(statements))


class ByNames(OfTexts):
    """Measures boxes by their names."""

    reads = (one_of("object_detection"), maybe("region_category"))


class ByTexts(OfTexts):
    """Measures boxes by their descriptions."""

    reads = (one_of("object_detection"), maybe("region_description"))


class Described(Filter[StageConfig]):
    """Drops boxes without a description."""

    judges_by = "image"
    reads = (one_of("object_detection"),)

    def judge(self, statements: Statements) -> Verdicts:
        return Verdicts(len(statements))


def graph(filters: Mapping[str, Any], **keys: Any) -> Graph:
    return planned(specialists=stages(Path("logs")), filters=filters, **keys)


def gates(graph: Graph) -> dict[str, tuple[str, ...]]:
    return {node.name: tuple(node.gate.filters) for node in graph.nodes if node.gate.filters}


def node(graph: Graph, name: str) -> Node[Any]:
    return next(node for node in graph.nodes if node.name == name)


def digests(graph: Graph) -> dict[str, str]:
    return {node.name: node.gate.digest for node in graph.nodes if node.gate.digest}


def test_filters_judge_before_the_stages_that_answer_one_by_one() -> None:
    both = graph({**scoring(0.5), "nms": {}, "text_filter": {}})
    assert gates(both) == {"texts": ("least", "nms"), "names": ("least", "nms")}
    assert node(both, "names").gate.lineage == ("corners", "texts")
    assert gates(graph(scoring(0.5), enrich="all")) == {}


def test_a_filter_that_measures_is_asked_before_the_stage_that_it_gates() -> None:
    measured = graph(ENOUGH)
    assert node(measured, "texts").inputs == ("corners", "enough")
    order = [node.name for node in measured.layered]
    assert order == ["corners", "enough", "texts", "names", "summary"]
    assert [node.name for node in measured.specialists] == ["corners", "texts", "names", "summary"]


def test_a_filter_that_measures_what_a_stage_answers_does_not_judge_before_it() -> None:
    of_texts = {"of_texts": {"use": "tests.engine.planning.test_gates:OfTexts"}}
    found = graph({**of_texts, **scoring(0.5)})
    assert gates(found) == {"texts": ("least",), "names": ("of_texts", "least")}
    order = [node.name for node in found.layered]
    assert order.index("texts") < order.index("of_texts") < order.index("names")


def test_a_filter_that_names_a_stage_judges_only_where_that_stage_is_read() -> None:
    """`superseded` would drop all that the stage that supersedes it has not answered yet."""
    superseded = {"superseded": {"by": {"names": ["region_category"]}}}
    more = {**stages(Path("logs")), "again": {"use": "tests.enriching:Texts", "log": "x"}}
    more["again"]["reads"] = ["corners"]
    found = planned(specialists=more, filters={**superseded, **scoring(0.5)})
    assert set(gates(found).values()) == {("least",)}
    superseded = {"superseded": {"by": {"corners": ["object_detection"]}}}
    assert gates(graph(superseded)) == {"texts": ("superseded",), "names": ("superseded",)}


def test_a_filter_that_looks_at_more_than_a_task_never_judges_before_a_stage() -> None:
    """One that drops boxes without a description would drop all, before there is any; what it
    drops in the end may not suppress other boxes before."""
    described = {"described": {"use": "tests.engine.planning.test_gates:Described"}}
    first = graph({**described, **scoring(0.5), "nms": {}})
    assert gates(first) == {"texts": ("least",), "names": ("least", "nms")}
    assert node(first, "names").gate.filters["nms"] == ("region_description",)
    assert gates(graph({**scoring(0.5), "nms": {}, **described})) == {
        "texts": ("least", "nms"),
        "names": ("least", "nms"),
    }


def test_regions_compete_before_a_stage_only_where_all_of_their_task_are_there() -> None:
    """A box that another specialist's box will drop drops no box before that."""
    more = {**stages(Path("logs")), "others": {"use": "tests.stages:Brightest"}}
    for name in ("texts", "names"):
        more[name] = {**more[name], "reads": ["corners", "texts"][: 1 + (name == "names")]}
    found = planned(specialists=more, filters={**scoring(0.5), "nms": {}})
    assert gates(found) == {"texts": ("least",), "names": ("least", "nms")}
    assert node(found, "names").gate.filters["nms"] == ("region_description",)


def test_voters_are_dropped_before_a_stage_that_reads_what_they_were_merged_into() -> None:
    """Else they would drop the merged box, which has the mean of their scores."""
    merged = {
        **stages(Path("logs")),
        "boxes": {"use": "merge", "tasks": ["object_detection"], "reads": ["corners"]},
    }
    del merged["names"], merged["summary"]
    merged["texts"]["reads"] = ["boxes"]
    by = {"boxes": ["object_detection"], "texts": ["region_description"]}
    found = planned(specialists=merged, filters={"superseded": {"by": by}, "nms": {}})
    assert node(found, "texts").gate.filters == {
        "superseded": ("object_detection",),
        "nms": ("object_detection",),
    }


def test_a_filter_of_what_a_stage_is_not_made_from_does_not_hold_it_up() -> None:
    captioned = {**stages(Path("logs")), "brief": {"use": "template_caption"}}
    found = planned(specialists=captioned, filters={"text_filter": {}, **scoring(0.5)})
    assert gates(found)["texts"] == ("least",)


def test_two_filters_never_wait_for_each_other_through_the_stages_that_they_gate() -> None:
    """Each of two filters measures what the stage answers that the other one could gate."""
    two = stages(Path("logs"))
    del two["summary"]
    two["names"]["reads"] = ["corners"]
    filters = {
        "by_names": {"use": "tests.engine.planning.test_gates:ByNames"},
        "by_texts": {"use": "tests.engine.planning.test_gates:ByTexts"},
    }
    found = planned(specialists=two, filters=filters)
    assert gates(found) == {"texts": ("by_names",)}, "then `names` cannot wait for `by_texts`"
    order = ["corners", "names", "by_names", "texts", "by_texts"]
    assert [node.name for node in found.layered] == order


def test_a_threshold_is_in_the_names_of_what_it_gates_and_of_what_reads_that() -> None:
    low, high, none = graph(scoring(0.4)), graph(scoring(0.6)), graph({})
    assert digests(low).keys() == {"texts", "names", "summary"}
    assert all(digests(low)[name] != digests(high)[name] for name in digests(low))
    assert digests(none) == {}
    for one, other in zip(low.specialists, high.specialists, strict=True):
        assert one.fingerprint == other.fingerprint
        assert one.provenance == other.provenance
    assert len({one.recipe for one in (low, high, none, graph(scoring(0.4), enrich="all"))}) == 4


@pytest.mark.parametrize("filters", [{"nms": {}}, ENOUGH])
def test_a_stage_after_the_gate_does_not_rename_what_is_before_it(filters: Any) -> None:
    """Filters read later stages, too."""
    few = {name: one for name, one in stages(Path("logs")).items() if name in ("corners", "texts")}
    more = {**few, "masks": {"use": "grabcut"}}
    assert (
        digests(planned(specialists=few, filters=filters))["texts"]
        == (digests(planned(specialists=more, filters=filters))["texts"])
    )


def test_a_manifest_has_all_that_names_the_layers() -> None:
    found = graph({**scoring(0.5), **ENOUGH})
    configurations = {node.fingerprint: node.configuration() for node in found.nodes}
    own = {node.fingerprint: node.gate.digest for node in found.nodes}
    assert gate_digests(configurations) == own
    divided = {node.fingerprint for node in found.nodes if node.is_divided}
    assert divided_stages(configurations) == divided
    assert [node.name for node in found.nodes if node.is_divided] == ["texts", "names", "summary"]


def test_stages_without_gates_are_configured_as_before() -> None:
    corners = node(graph(scoring(0.5)), "corners")
    assert {"each", "gate"}.isdisjoint(corners.configuration())


def test_sample_filters_judge_before_all_stages_whose_answers_they_do_not_need() -> None:
    log = {"log": "log"}
    graph = planned(
        sample_filters={
            "wordy": {"use": "tests.curating:OfCaptions", **log},
            "bright": {"use": "tests.curating:Brightness", **log},
            "large": {"use": "tests.curating:Large"},
        },
        specialists={
            "tags": {"use": "tests.curating:Tags", **log},
            "captions": {"use": "tests.curating:Captions", **log},
        },
    )
    gates = {node.name: node.gate for node in graph.nodes}
    assert [node.name for node in graph.sample_filters] == ["bright", "large", "wordy"]
    assert {name: gate.sample_filters for name, gate in gates.items()} == {
        "bright": (),
        "large": (),
        "wordy": ("bright", "large"),
        "tags": ("bright", "large", "wordy"),
        "captions": ("bright", "large"),
    }
    assert gates["tags"].measured == ("bright", "wordy")
    assert [node.name for node in graph.layered] == ["bright", "captions", "wordy", "tags"]


def test_stages_after_a_filter_that_compares_know_that_its_verdicts_may_change() -> None:
    log = {"log": "log"}
    graph = planned(
        sample_filters={
            "bright": {"use": "tests.curating:Brightness", **log},
            "repeated": {"use": "tests.curating:Repeated", **log},
            "large": {"use": "tests.curating:Large"},
        },
        specialists={"tags": {"use": "tests.curating:Tags", **log}},
    )
    assert {node.name: node.gate.compares for node in graph.layered} == {
        "bright": False,
        "repeated": False,
        "tags": True,
    }
    part = graph.until("repeated")
    assert [node.name for node in part.nodes] == ["bright", "repeated"]
    assert [node.fingerprint for node in part.nodes] == [
        node.fingerprint for node in graph.sample_filters[:2]
    ]
