"""Annotations of a finished dataset that a source reads: each is checked, and their lineage.

The dataset may come from outside, too. Annotations that violate the contract are left out and
reported; the size of the image is not known here.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from florilegium.engine.core.annotation import ANNOTATION_NAMES, Annotation, from_json
from florilegium.engine.core.tasks import TASKS
from florilegium.engine.core.validity import problem_of
from florilegium.engine.sources.text import NotText, check_text
from florilegium.engine.untrusted.escaped import cut, has_ink
from florilegium.engine.untrusted.names import is_name

MAX_LINEAGE = 32
"""Length of a chain of parents, at most; stages make chains of five."""
MAX_OWN_TASKS = 100
"""Unknown tasks of one image, at most."""

_PROVENANCE = dict.fromkeys(("specialist", "model", "revision", "stage"), "")
_CONTRACT_KEYS = frozenset({"kind", "task", "box_xyxy", "parent_id", "specialist"})


def is_contract(value: object) -> bool:
    """Whether a value is the `annotations` list of a dataset that this engine wrote.

    One valid entry is enough, as others may be damaged.
    """
    return isinstance(value, list) and any(
        isinstance(row, dict) and row.keys() >= _CONTRACT_KEYS for row in value
    )


def contract(rows: Sequence[Any]) -> tuple[tuple[Annotation, ...], list[str]]:
    """Return annotations of a finished dataset as those of a source, without provenance.

    An `id` stays only where a `parent_id` of the same list refers to it. Also returns remarks on
    entries that violate the contract.
    """
    annotations: list[Annotation] = []
    broken: list[str] = []
    for row in rows:
        try:
            annotations.append(_annotation(row))
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
            broken.append(f"{error!r:.200}")
    kept, problems = without_bad(annotations, _OfContract(annotations))
    problems = broken + problems
    if not problems:
        return kept, []
    remark = f"{len(problems)} of {len(rows)} do not keep to the contract: {problems[0]}"
    return kept, [f"annotations: {remark}"]


def without_bad(
    annotations: Sequence[Annotation], problem_with: Callable[[Annotation], str]
) -> tuple[tuple[Annotation, ...], list[str]]:
    """Leave out annotations that have a problem; return the others, and the problems.

    A `parent_id` of one of them is emptied. An annotation that needs its parent, such as a phrase
    its caption, is left out with it.
    """
    kept = dict(enumerate(annotations))
    problems: list[str] = []
    names = Counter(one.id for one in annotations if isinstance(one.id, str))
    children: dict[str, list[int]] = defaultdict(list)
    for number, one in kept.items():
        if isinstance(one.parent_id, str):
            children[one.parent_id].append(number)
    pending = list(kept)
    while pending:
        gone: list[str] = []
        for number in pending:
            one = kept[number]
            if isinstance(one.parent_id, str) and one.parent_id and not names[one.parent_id]:
                one = kept[number] = replace(one, parent_id="")
            if problem := problem_with(one):
                problems.append(problem)
                del kept[number]
                gone += [one.id] if isinstance(one.id, str) else []
        names.subtract(gone)
        orphans = {number for name in gone if not names[name] for number in children[name]}
        pending = sorted(orphans & kept.keys())
    return tuple(kept.values()), problems


class _OfContract:
    """Returns what is wrong with one of these annotations, whatever the size of the image."""

    def __init__(self, annotations: Sequence[Annotation]) -> None:
        self._own_tasks: set[str] = set()
        self._named = {one.id: one for one in annotations if isinstance(one.id, str) and one.id}
        named = Counter(one.id for one in annotations if isinstance(one.id, str))
        self._twice = {name for name, count in named.items() if count > 1}
        self._depths: dict[str, int] = {}

    def __call__(self, one: Annotation) -> str:
        if problem := problem_of(one) or _text_problem(one) or self._task_problem(one.task):
            return problem
        problem = self._lineage_problem(one)
        return f"{one.task}: {problem}" if problem else ""

    def _task_problem(self, task: str) -> str:
        if task in TASKS or task in self._own_tasks:
            return ""
        if not is_name(task):
            return f"a task {cut(task)}, which is no name"
        if len(self._own_tasks) >= MAX_OWN_TASKS:
            return f"a task {cut(task)}, after {MAX_OWN_TASKS} others that are not known"
        self._own_tasks.add(task)
        return ""

    def _lineage_problem(self, one: Annotation) -> str:
        if not one.parent_id:
            return ""
        if one.parent_id in self._twice:
            return f"a parent_id {cut(one.parent_id)}, which is the id of several"
        if self._depth_of(one.parent_id) >= MAX_LINEAGE:
            return f"more than {MAX_LINEAGE} annotations made from each other, or in a circle"
        caption = self._named[one.parent_id].text
        is_beyond = one.kind == "phrase" and one.span and isinstance(caption, str)
        if is_beyond and one.span[1] > len(caption):
            return f"a span of {one.span} in a caption of {len(caption)} characters"
        return ""

    def _depth_of(self, name: str) -> int:
        """Return the length of an annotation's chain of parents, itself included; of a circle the
        limit."""
        way: dict[str, None] = {}
        while name in self._named and name not in self._depths and name not in way:
            way[name] = None
            above = self._named[name].parent_id
            name = above if isinstance(above, str) else ""
        depth = MAX_LINEAGE if name in way else self._depths.get(name, 0)
        for below in reversed(way):
            depth = self._depths[below] = min(depth + 1, MAX_LINEAGE)
        return depth


def _text_problem(one: Annotation) -> str:
    """Return what is wrong with a text that is allowed for a stage, but in a file is due to
    damage."""
    for name in ("text", "label", "language"):
        text = getattr(one, name)
        try:
            check_text(text)
        except NotText as error:
            return f"{one.task}: a {name} with {error}"
        if text.strip() and not has_ink(text):
            return f"{one.task}: a {name} of {len(text)} characters, none of which is seen"
    return ""


def _annotation(row: Any) -> Annotation:
    """Build an annotation from an entry of the contract.

    Raises:
        AttributeError, KeyError, TypeError, ValueError, OverflowError: it is not of that shape.
    """
    missing = _CONTRACT_KEYS - row.keys()
    if missing:
        raise ValueError(f"no {sorted(missing)[0]}")
    cleared: dict[str, Any] = {**_PROVENANCE, "round": 0, "merged_from": (), "confidence": None}
    known = {name: row[name] for name in ANNOTATION_NAMES if name in row}
    return from_json({**known, **cleared})
