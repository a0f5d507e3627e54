"""A trial as tables for the terminal, and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from florilegium.engine.core.counted import counted
from florilegium.engine.core.sample import DeadLetter
from florilegium.engine.core.stage import Filter, SampleFilter
from florilegium.engine.planning.graph import Node
from florilegium.engine.results.contract import SHARD_SCHEMA
from florilegium.pipelines.trial.trial import StageCost, Trial, TriedImage

_OF_SAMPLE = ("key", "width", "height")


def image_table(image: TriedImage, node: Node[Any]) -> Table:
    """Return what a stage found in an image, or how it judged what others had found."""
    is_judged = isinstance(node.stage, Filter) or not all(row["kept"] for row in image.rows)
    table = Table(title=image.name, title_justify="left", show_edge=False, pad_edge=False)
    table.add_column("", justify="right")
    for name in ("task", "text", "box", "score"):
        table.add_column(name, justify="right" if name == "score" else "left")
    if is_judged:
        table.add_column("verdict")
    for number, row in enumerate(image.rows, 1):
        score = "" if row["score"] is None else f"{row['score']:.3g}"
        words = "\n".join(filter(None, (_words(row), _numbers(_verdict(row, node.name)))))
        cells = [str(number), row["task"], words, _box(row), score]
        table.add_row(*cells, *([_judgement(row, node)] if is_judged else []))
    return table


def _words(row: Mapping[str, Any]) -> str:
    text, label = row["text"], row["label"]
    return f"{text} ({label})" if text and label and text != label else text or label


def _box(row: Mapping[str, Any]) -> str:
    """Return the box in whole pixels, and what other shape there is."""
    shape = "mask" if row["mask_rle"] else "quad" if row["quad"] else ""
    return " ".join([*(f"{edge:.0f}" for edge in row["box_xyxy"]), shape]).rstrip()


def _verdict(row: Mapping[str, Any], stage: str) -> Mapping[str, Any] | None:
    return next((one for one in row["verdicts"] if one["filter"] == stage), None)


def _numbers(verdict: Mapping[str, Any] | None) -> str:
    """Return the numbers that a verdict follows from."""
    measured = verdict["measurement"] if verdict else ()
    return ", ".join(f"{one['name']} {one['value']:.3g}" for one in measured)


def _judgement(row: Mapping[str, Any], node: Node[Any]) -> str:
    """Return the verdict of a filter; of a specialist's annotation which filter before it dropped
    it, if one did."""
    if isinstance(node.stage, Filter):
        verdict = _verdict(row, node.name)
        return "not judged" if verdict is None else str(verdict["reason"] or "kept")
    drops = (one for one in row["verdicts"] if not one["keep"])
    return next((f"{one['filter']}: {one['reason']}" for one in drops), "kept")


def sample_line(image: TriedImage) -> str:
    """Return how sample filters judged an image, with what the one that is tried measured."""
    if letter := image.dropped:
        return f"{image.name}: dropped by {letter.dropped_by}: {letter.reason}: {letter.message}"
    shown = (
        f"{name} {value!r}" if isinstance(value, str) else f"{name} {value:.6g}"
        for name, value in image.measured.items()
    )
    return f"{image.name}: kept{': ' * bool(image.measured)}{', '.join(shown)}"


def failure_lines(letter: DeadLetter) -> Iterator[str]:
    """Yield why an image failed, with the traceback of the stage."""
    yield f"{letter.stage}: {letter.reason}: {letter.message}"
    yield from (f"  {line}" for line in letter.traceback.splitlines())


def costs_table(trial: Trial) -> Table:
    """Return the time of each stage that was asked; images are decoded within it."""
    table = Table(show_edge=False, pad_edge=False)
    table.add_column("stage")
    for name in ("load", "first image", "later images", "failed"):
        table.add_column(name, justify="right")
    for cost in trial.costs:
        failed = f"{cost.failures} of {len(cost.image_s)}" if cost.failures else ""
        times = map(_seconds, (cost.load_s, cost.first_s, cost.later_s))
        table.add_row(cost.name, *times, failed)
    return table


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.1f} ms"


def cost_lines(trial: Trial) -> Iterator[str]:
    """Yield what judging took, the memory of the trial, and what services were asked and paid."""
    if isinstance(trial.node.stage, Filter | SampleFilter):
        judging = _seconds(trial.judging_s / max(len(trial.images), 1))
        yield f"judging  {judging} for each image, with writing it"
    gpu = f", {trial.gpu_mib:.0f} MiB of the GPU" if trial.gpu_mib else ""
    yield (
        f"memory   {trial.peak_mib:.0f} MiB at the peak{gpu}; "
        f"{trial.base_mib:.0f} MiB before the first stage was loaded"
    )
    for cost in trial.costs:
        if cost.spent.requests:
            requests = counted(cost.spent.requests, "request")
            yield f"service  {cost.name}: {requests}, {cost.spent.tokens} tokens, {_price(cost)}"


def _price(cost: StageCost) -> str:
    return f"at a price of {cost.spent.cost:.4g}"


def to_json(trial: Trial, pictures: Mapping[str, Path]) -> dict[str, Any]:
    """Return the whole trial; `pictures` by the key of the image. Seconds, MiB."""
    node = trial.node
    return {
        "stage": node.name,
        "use": node.use,
        "kind": node.stage.section.removesuffix("s"),
        "images": [_image_json(image, pictures) for image in trial.images],
        "costs": [asdict(cost) for cost in trial.costs],
        "judging_s": trial.judging_s,
        "base_mib": trial.base_mib,
        "peak_mib": trial.peak_mib,
        "gpu_mib": trial.gpu_mib,
    }


def _image_json(image: TriedImage, pictures: Mapping[str, Path]) -> dict[str, Any]:
    names = [name for name in SHARD_SCHEMA.names if name not in _OF_SAMPLE]
    return {
        "image": image.name,
        "key": image.key,
        "picture": str(pictures[image.key]) if image.key in pictures else None,
        "annotations": [{name: row[name] for name in names} for row in image.rows],
        "failure": asdict(image.failure) if image.failure else None,
        **({"dropped": asdict(image.dropped)} if image.dropped else {}),
        **({"measured": dict(image.measured)} if image.measured else {}),
    }
