"""Filling the prompt and target templates of custom tasks from annotations or metadata."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from florilegium.engine.results.dataset_sample import DatasetSample
from florilegium.pipelines.training.config import CustomTask
from florilegium.specialists.florence2.format import clean, locations

_FIELD = re.compile(r"\{([\w.]+)\}")
_METADATA = "metadata"
_LOCATIONS = ("box", "quad")


def fill(task: CustomTask, sample: DatasetSample) -> list[tuple[str, str]]:
    """Return prompt and target for each entry of the sample that has all values of both."""
    filled = [
        (_filled(task.prompt, values), _filled(task.target, values))
        for values in _values(task.each, sample)
    ]
    return [(prompt, target) for prompt, target in filled if prompt and target]


def _values(each: str, sample: DatasetSample) -> Iterator[dict[str, Any]]:
    metadata = json.loads(sample.metadata or "{}")
    common = {_METADATA: metadata}
    if not each:
        yield common
    elif each.partition(".")[0] == _METADATA:
        found = _value(each, common)
        for entry in found if isinstance(found, list) else []:
            yield {**common, **(entry if isinstance(entry, Mapping) else {"value": entry})}
    else:
        size_wh = (sample.width, sample.height)
        for annotation in sample.annotations:
            if annotation.task == each:
                yield {
                    **common,
                    "text": annotation.text,
                    "label": annotation.label,
                    "box": locations(annotation.box_xyxy, size_wh),
                    "quad": locations(annotation.quad, size_wh),
                }


def _filled(template: str, values: Mapping[str, Any]) -> str:
    """Return a template with its values; "" if one is missing."""
    found = {path: _text_of(path, values) for path in _FIELD.findall(template)}
    if not all(found.values()):
        return ""
    return _FIELD.sub(lambda match: found[match[1]], template)


def _text_of(path: str, values: Mapping[str, Any]) -> str:
    value = _value(path, values)
    if value is None or isinstance(value, list | dict):
        return ""
    return str(value) if path in _LOCATIONS else clean(str(value))


def _value(path: str, values: Any) -> Any:
    for name in path.split("."):
        if isinstance(values, Mapping):
            values = values.get(name)
        elif isinstance(values, list) and name.isdigit() and int(name) < len(values):
            values = values[int(name)]
        else:
            return None
    return values
