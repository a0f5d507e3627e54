"""One contract for every registered stage: that of the kit, `florilegium.testing`.

A stage is found by its name and asked about real photographs, with all that the stages of the
quickstart predict of them.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.metadata import metadata, packages_distributions, requires
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.limits import Limits
from florilegium.engine.core.sample import Picture, Sample
from florilegium.engine.core.stage import Filter, Specialist
from florilegium.engine.execution.call import WorkerCall
from florilegium.engine.execution.preparation import Run, prepare
from florilegium.engine.planning.partition import partition
from florilegium.engine.planning.registry import find_stage, stage_names
from florilegium.engine.results.shard import read_shard
from florilegium.testing import check_stage
from tests.checkpoints import needs_torchvision
from tests.configs import load_config

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "transformers", "spacy", "cv2", "onnxruntime", "rapidocr", "ray")
HAS_TORCHVISION = find_spec("torchvision") is not None
FIXED = ("compile", "attention", "threads", "feeders")
"""Options that are about speed, and too slow to try for every stage (`test_fed_stages` tries
feeders). `attention="eager"` adds floats in another order, which changes the fifth decimal of a
score of `image_text`; of verdicts, the kit compares all decimals."""
NAMES = [name for name in stage_names() if HAS_TORCHVISION or not needs_torchvision(name)]
"""Those that can be asked in this process; `tests/torchvision` asks the others."""


_QUESTION: dict[str, Any] = {
    "kind": "text",
    "task": "question_answer",
    "text": "Is it day?",
    "label": "yes",
}
ASKED = (
    Annotation(**_QUESTION, id="question", specialist="asker"),
    Annotation(**_QUESTION, id="answer", specialist="answerer", parent_id="question"),
)
"""A question and the answer of another stage, which the quickstart has not."""


@cache
def options(name: str) -> dict[str, Any]:
    """Options that a stage needs to run here: a tiny checkpoint, a service on loopback.

    Stages that need any have a module in `tests/checkpoints`, by their name.
    """
    if find_spec(f"tests.checkpoints.{name}") is None:
        return {}
    maker = import_module(f"tests.checkpoints.{name}")
    return maker.options(Path(tempfile.mkdtemp(prefix=f"florilegium-{name}-")))


def given(name: str) -> Callable[[list[Sample]], list[Sample]]:
    """Return what adds to samples what a stage reads and the quickstart does not predict."""
    if find_spec(f"tests.checkpoints.{name}") is None:
        return lambda samples: samples
    return getattr(import_module(f"tests.checkpoints.{name}"), "given", lambda samples: samples)


@pytest.fixture(scope="module")
def run(photographs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The quickstart over four real photographs, two of them with text.

    It boxes small objects, too: a mask needs something outside of its box.
    """
    folder = tmp_path_factory.mktemp("photographs")
    for name in ("cat", "motorcycle", "page", "rocket"):
        with Image.open(photographs[name]) as photograph:
            photograph.convert("RGB").resize((400, 280)).save(folder / f"{name}.png")
    changes = {"source": str(folder), "output": str(tmp_path_factory.mktemp("out"))}
    boxes = ["specialists.imagenet_cam.least_box=0"]
    config = load_config(ROOT / "configs" / "quickstart.yaml", changes=changes, overrides=boxes)
    return prepare(config)


@pytest.fixture(scope="module")
def annotated(run: Run) -> list[Sample]:
    """The photographs, with all that the stages of the quickstart predict of them."""
    (spec,) = partition(run.sources)
    shard, images = read_shard(spec, run.sources[0], limits=Limits())
    numbers = range(len(shard.records))
    nodes = {node.name: node for node in run.graph.nodes}
    call = WorkerCall(shard, images, {}, nodes=nodes)
    for node in run.graph.specialists:
        node.stage.load()
        call.ask(node, numbers)
    layers = [call.part(node) for node in run.graph.specialists]
    assert not any(layer.errors for layer in layers)
    found = [layer.annotations(numbers) for layer in layers]
    return [
        Sample(
            key=record.key,
            width=record.width,
            height=record.height,
            picture=Picture(images[number]),
            sha256=record.sha256,
            annotations=(*(one for answers in found for one in answers[number]), *ASKED),
            upstream={node.name: frozenset(node.stage.produces) for node in run.graph.specialists},
        )
        for number, record in enumerate(shard.records)
    ]


@pytest.mark.parametrize("name", NAMES)
def test_a_stage_keeps_its_contract(name: str, annotated: list[Sample]) -> None:
    stage_class = find_stage(name)
    samples = given(name)(annotated)
    report = check_stage(stage_class, options=options(name), samples=samples, fixed=FIXED)
    assert report.rows > 0 or not issubclass(stage_class, Specialist)
    assert report.judged > 0 or not issubclass(stage_class, Filter)


@pytest.mark.parametrize("name", NAMES)
def test_every_option_has_a_default(name: str) -> None:
    assert find_stage(name).Config().model_dump(mode="json") is not None


@pytest.mark.parametrize("name", NAMES)
def test_what_a_stage_needs_comes_with_its_extra(name: str) -> None:
    stage_class = find_stage(name)
    if not stage_class.needs:
        return
    assert stage_class.extra in metadata("florilegium").get_all("Provides-Extra", [])
    mark = f'extra == "{stage_class.extra}"'
    brought = {line.split(";")[0] for line in requires("florilegium") or () if mark in line}
    for package in stage_class.needs:
        names = {one.lower().replace("_", "-") for one in packages_distributions()[package]}
        assert any(line.startswith(one) for line in brought for one in names), package


def test_importing_stages_is_light() -> None:
    code = (
        "import json, sys\n"
        "from florilegium.engine.planning.registry import find_stage, stage_names\n"
        "for name in stage_names(): find_stage(name)(find_stage(name).Config())\n"
        "for name, options in json.load(sys.stdin).items():\n"
        "    find_stage(name)(find_stage(name).Config(**options)).revision()\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps({name: options(name) for name in NAMES}),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
