"""The dashboard and the document of metrics hold what a build exports, all of it and no more."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from florilegium.pipelines.telemetry.documentation import documentation
from florilegium.pipelines.telemetry.metrics import METRICS, Metric
from tests.conftest import ROOT

DEPLOY = ROOT / "configs" / "deploy"
DASHBOARD = json.loads((DEPLOY / "grafana.json").read_text("utf-8"))
BY_NAME = {name: metric for metric in METRICS for name in metric.exported}
_SELECTOR = re.compile(r'\{__name__=~"\(ray_\)\?(\w+)"\}')
_LEGEND = re.compile(r"\{\{(\w+)\}\}")
_LANGUAGE = {"sum", "max", "by", "rate", "histogram_quantile", "__rate_interval"}
TARGETS = [
    pytest.param(target, id=f"{panel['title']} {target['refId']}")
    for panel in DASHBOARD["panels"]
    for target in panel["targets"]
]


def labels_of(name: str, metric: Metric) -> set[str]:
    return {*metric.labels, *(["le"] if name.endswith("_bucket") else [])}


@pytest.mark.parametrize("target", TARGETS)
def test_each_query_names_metrics_and_labels_that_exist(target: dict[str, Any]) -> None:
    names = _SELECTOR.findall(target["expr"])
    assert names, "a query without a metric"
    assert set(names) <= BY_NAME.keys()
    grouped = {
        label.strip()
        for group in re.findall(r" by \(([^)]*)\)", target["expr"])
        for label in group.split(",")
    }
    for name in names:
        assert grouped <= labels_of(name, BY_NAME[name])
        kind = BY_NAME[name].kind
        assert (kind == "gauge") <= (f'rate({{__name__=~"(ray_)?{name}"' not in target["expr"])
    assert set(_LEGEND.findall(target["legendFormat"])) == grouped - {"le"}


@pytest.mark.parametrize("target", TARGETS)
def test_each_query_is_made_of_words_of_promql(target: dict[str, Any]) -> None:
    expression = target["expr"]
    rest = re.sub(r" by \([^)]*\)", "", _SELECTOR.sub("", expression))
    assert set(re.findall(r"[a-z_]+", rest)) <= _LANGUAGE
    for opening, closing in ("()", "{}", "[]"):
        assert expression.count(opening) == expression.count(closing)


def test_each_metric_is_drawn() -> None:
    queries = " ".join(target.values[0]["expr"] for target in TARGETS)
    drawn = {BY_NAME[name].name for name in _SELECTOR.findall(queries)}
    assert drawn == {metric.name for metric in METRICS}


def test_panels_have_numbers_and_places_of_their_own() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [panel["gridPos"] for panel in panels]
    cells = [
        (x, y)
        for place in places
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24, "the width of a dashboard"


def test_the_document_has_the_table_of_metrics() -> None:
    assert (DEPLOY / "metrics.md").read_text("utf-8") == documentation(), (
        "python -m florilegium.pipelines.telemetry.documentation > configs/deploy/metrics.md"
    )
