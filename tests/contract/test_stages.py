"""One contract for every registered stage, whoever wrote it.

A stage is found by its name, hears what the stages of the quickstart said about real
photographs, and has to be pure: the answer depends on the image and on nothing else.
"""

from __future__ import annotations

import ast
import inspect
import json
import math
import pickle
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from importlib import import_module
from importlib.metadata import metadata, packages_distributions, requires
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from florilegium.engine.core import tasks as words
from florilegium.engine.core.annotation import Annotation, Provenance
from florilegium.engine.core.errors import SampleError
from florilegium.engine.core.limits import Limits
from florilegium.engine.core.rows import Measurement
from florilegium.engine.core.sample import Picture, Sample
from florilegium.engine.core.stage import Filter, Specialist, Stage
from florilegium.engine.execution.answer import ask
from florilegium.engine.execution.call import WorkerCall
from florilegium.engine.execution.preparation import Run, prepare
from florilegium.engine.planning.graph import Graph, Node
from florilegium.engine.planning.partition import partition
from florilegium.engine.planning.registry import find_stage, stage_names
from florilegium.engine.results.judging import judge
from florilegium.engine.results.layer import Layer, make_layer
from florilegium.engine.results.questions import divided, questions_of, shown
from florilegium.engine.results.shard import Shard, ShardBytes, read_shard
from tests.checkpoints import needs_torchvision
from tests.configs import load_config

ROOT = Path(__file__).parents[2]
KINDS = {
    kind: words.names_of(lambda task, kind=kind: task.kind == kind)
    for kind in ("text", "region", "phrase")
}
HEAVY = ("torch", "transformers", "spacy", "cv2", "onnxruntime", "rapidocr", "ray")
HAS_TORCHVISION = find_spec("torchvision") is not None
NAMES = [name for name in stage_names() if HAS_TORCHVISION or not needs_torchvision(name)]
"""Those that can be asked in this process; `tests/torchvision` asks the others."""
SPECIALISTS = [name for name in NAMES if issubclass(find_stage(name), Specialist)]
FILTERS = [name for name in NAMES if issubclass(find_stage(name), Filter)]
MEASURING = [name for name in FILTERS if find_stage(name).measured]  # type: ignore[attr-defined]


@cache
def loaded(name: str) -> Stage[Any]:
    """A stage that is ready to answer, the same for all tests."""
    return another(name)


def another(name: str) -> Stage[Any]:
    """A stage of its own, loaded."""
    stage = unloaded(name)
    stage.load()
    return stage


def unloaded(name: str) -> Stage[Any]:
    """A stage of its own, as the planner has it."""
    stage_class = find_stage(name)
    return stage_class(stage_class.Config(**options(name)))


@cache
def options(name: str) -> dict[str, Any]:
    """Options that a stage needs to run here: a tiny checkpoint, a service on loopback.

    Stages that need any have a module in `tests/checkpoints`, by their name.
    """
    if find_spec(f"tests.checkpoints.{name}") is None:
        return {}
    maker = import_module(f"tests.checkpoints.{name}")
    return maker.options(Path(tempfile.mkdtemp(prefix=f"florilegium-{name}-")))


@pytest.fixture(scope="module")
def run(photographs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The quickstart over four real photographs, two of them with text."""
    folder = tmp_path_factory.mktemp("photographs")
    for name in ("cat", "motorcycle", "page", "rocket"):
        with Image.open(photographs[name]) as photograph:
            photograph.convert("RGB").resize((400, 280)).save(folder / f"{name}.png")
    changes = {"source": str(folder), "output": str(tmp_path_factory.mktemp("out"))}
    return prepare(load_config(ROOT / "configs" / "quickstart.yaml", changes=changes))


class Quickstart:
    """All that the quickstart's stages said about a shard."""

    def __init__(self, run: Run) -> None:
        (spec,) = partition(run.sources, [])
        self.graph: Graph = run.graph
        self.shard, self.images = read_shard(spec, run.sources[0], limits=Limits())
        nodes = {node.name: node for node in self.graph.nodes}
        talk = WorkerCall(self.shard, self.images, {}, nodes=nodes)
        for node in self.graph.layered:
            node.stage.load()
            talk.ask(node, range(len(self.shard.records)))
        self.layers = {node.name: talk.part(node) for node in self.graph.layered}

    def samples(self, stage: Stage[Any], images: ShardBytes | None = None) -> list[Sample]:
        """Return the samples as a stage sees them, perhaps with other bytes."""
        tasks = {task for wanted in stage.reads for task in wanted.tasks}
        numbers = range(len(self.shard.records))
        answered = [self.layers[node.name].annotations(numbers) for node in self.graph.specialists]
        return [
            Sample(
                key=record.key,
                width=record.width,
                height=record.height,
                picture=Picture((images or self.images)[number]),
                annotations=tuple(
                    one for answers in answered for one in answers[number] if one.task in tasks
                ),
            )
            for number, record in enumerate(self.shard.records)
        ]


@pytest.fixture(scope="module")
def quickstart(run: Run) -> Quickstart:
    return Quickstart(run)


def answer(stage: Stage[Any], samples: Sequence[Sample]) -> list[Any]:
    """Ask a stage through the engine, which refuses nonsense and keeps five decimals."""
    node = Node[Any](name="it", use="it", stage=stage, fingerprint="f")
    provenance = Provenance()
    return [
        answered
        if isinstance(answered, SampleError)
        else stage.rows.stamped(answered, provenance, sample.key)
        for answered, sample in zip(ask(node, samples), samples, strict=True)
    ]


def assert_same(some: Sequence[Any], others: Sequence[Any], *, within: float = 1e-3) -> None:
    """Compare answers; sums of floats differ in their last digits with the size of a batch."""
    for one, other in zip(some, others, strict=True):
        assert [plain(answered) for answered in one] == [plain(answered) for answered in other]
        for answered, again in zip(one, other, strict=True):
            assert numbers_of(answered) == pytest.approx(numbers_of(again), abs=within)


def plain(answered: Annotation | Measurement) -> Any:
    """Return what is said without its numbers."""
    if isinstance(answered, Measurement):
        return answered.annotation_id, sorted(answered.values)
    return replace(answered, score=None, support=None, box_xyxy=(), quad=())


def numbers_of(answered: Annotation | Measurement) -> list[float]:
    """Return the numbers of what is said."""
    if isinstance(answered, Measurement):
        return [answered.values[name] for name in sorted(answered.values)]
    scores = [score for score in (answered.score, answered.support) if score is not None]
    return [*scores, *answered.box_xyxy, *answered.quad]


def call(stage: Stage[Any], samples: Sequence[Sample]) -> list[Any]:
    """Call a stage directly: whatever it raises comes through."""
    return list(stage.answer(samples))


def test_the_quickstart_shows_every_stage_something(quickstart: Quickstart) -> None:
    """Otherwise the tests below would pass over empty answers."""
    assert not any(layer.errors for layer in quickstart.layers.values())
    for name in NAMES:
        stage = loaded(name)
        if stage.reads:
            assert any(sample.annotations for sample in quickstart.samples(stage)), name


@pytest.mark.parametrize("name", SPECIALISTS + MEASURING)
def test_an_empty_batch_has_an_empty_answer(name: str) -> None:
    assert call(loaded(name), []) == []


@pytest.mark.parametrize("name", SPECIALISTS + MEASURING)
def test_an_answer_does_not_depend_on_the_batch_or_its_order(
    name: str, quickstart: Quickstart
) -> None:
    stage = loaded(name)
    samples = quickstart.samples(stage)
    together = answer(stage, samples)
    assert not [one for one in together if isinstance(one, SampleError)]
    assert any(together)
    alone = [answer(stage, [sample])[0] for sample in reversed(samples)]
    assert_same(together, alone[::-1])


@pytest.mark.parametrize("name", SPECIALISTS + MEASURING)
def test_a_fresh_instance_gives_the_same_answer(name: str, quickstart: Quickstart) -> None:
    first, second = loaded(name), another(name)
    assert answer(first, quickstart.samples(first)) == answer(second, quickstart.samples(second))


@pytest.mark.parametrize("name", SPECIALISTS + MEASURING)
def test_a_broken_image_costs_only_itself_or_is_not_looked_at(
    name: str, quickstart: Quickstart
) -> None:
    stage = loaded(name)
    good, *_ = quickstart.samples(stage)
    cut = ShardBytes(
        [bytes(quickstart.images[n])[:4000] for n in range(len(quickstart.shard.records))]
    )
    _, broken, *_ = quickstart.samples(stage, cut)
    with pytest.raises(SampleError):
        _ = broken.image
    first, second = answer(stage, [good, broken])
    assert first == answer(stage, [good])[0]
    if isinstance(second, SampleError):
        assert second.reason == "corrupt_image"
    else:
        assert second == answer(stage, [quickstart.samples(stage)[1]])[0]


@pytest.mark.parametrize("name", SPECIALISTS)
def test_a_specialist_says_what_it_declares(name: str, quickstart: Quickstart) -> None:
    stage = loaded(name)
    samples = quickstart.samples(stage)
    for sample, answered in zip(samples, answer(stage, samples), strict=True):
        known = {one.id for one in sample.annotations}
        assert {one.task for one in answered} <= set(stage.produces)  # type: ignore[attr-defined]
        for one in answered:
            assert one.task in KINDS[one.kind]
            assert one.kind == "text" or one.box_xyxy or one.quad or one.mask_rle
            assert one.kind != "phrase" or (one.span and one.parent_id)
            assert (one.specialist, one.stage) == ("", "")  # the engine's
            assert set(one.merged_from) <= known


def unnamed(rows: Sequence[Any]) -> list[Any]:
    """Return rows without their ids, which depend on their places in the answer."""
    return [replace(row, id="") if isinstance(row, Annotation) else row for row in rows]


def one_by_one(name: str) -> Stage[Any] | None:
    """A loaded stage that answers about annotations one by one, `None` for others."""
    stage = loaded(name)
    return stage if stage.each else None


@pytest.mark.parametrize("name", SPECIALISTS + MEASURING)
def test_what_is_answered_about_one_annotation_does_not_depend_on_the_others(
    name: str, quickstart: Quickstart
) -> None:
    if (stage := one_by_one(name)) is None:
        return
    parts = 0
    for sample in quickstart.samples(stage)[:2]:
        questions = questions_of(stage, sample)
        (together,) = answer(stage, [shown(stage, sample, questions)])
        for question, part in zip(questions, divided(stage, questions, together), strict=True):
            (alone,) = answer(stage, [shown(stage, sample, [question])])
            assert_same(
                [unnamed(part)], [unnamed(alone)], within=0.011
            )  # the last decimal of a box
            parts += 1
    assert parts > 1


@pytest.mark.parametrize("name", SPECIALISTS + MEASURING)
def test_of_what_a_stage_chose_it_chooses_all(name: str, quickstart: Quickstart) -> None:
    if (stage := one_by_one(name)) is None:
        return
    assert set(stage.each) <= stage.read_tasks
    for sample in quickstart.samples(stage):
        chosen = list(stage.chosen(sample))
        assert {one.task for one in chosen} <= set(stage.each)
        assert list(stage.chosen(replace(sample, annotations=tuple(chosen)))) == chosen


@pytest.mark.parametrize("name", MEASURING)
def test_a_filter_measures_only_what_it_heard(name: str, quickstart: Quickstart) -> None:
    stage = loaded(name)
    samples = quickstart.samples(stage)
    for sample, rows in zip(samples, answer(stage, samples), strict=True):
        known = {one.id for one in sample.annotations}
        assert {row.annotation_id for row in rows} <= known
        numbers = [value for row in rows for value in row.values.values()]
        assert all(math.isfinite(number) for number in numbers)


def verdicts(name: str, quickstart: Quickstart, order: Sequence[int]) -> dict[str, Any]:
    """Judge the samples in some order by one filter; return what became of each annotation."""
    stage = loaded(name)
    upstream = {each.name: frozenset(each.stage.produces) for each in quickstart.graph.specialists}
    node = Node[Any](name=name, use=name, stage=stage, upstream=upstream, fingerprint="f")
    graph = Graph(specialists=quickstart.graph.specialists, filters=(node,))  # type: ignore[arg-type]
    shard = Shard(
        number=0,
        records=tuple(quickstart.shard.records[number] for number in order),
        labels=((),) * len(order),
        dead_letters=(),
    )
    images = ShardBytes([bytes(quickstart.images[number]) for number in order])
    layers: dict[str, Layer] = {}
    earlier: dict[str, dict[int, Any]] = {}
    for each in quickstart.graph.specialists:
        answered = quickstart.layers[each.name].annotations(range(len(quickstart.shard.records)))
        earlier[each.name] = {new: answered[old] for new, old in enumerate(order)}
        layers[each.name] = make_layer(each, earlier[each.name], ())
    if node.stage.has_layer:
        talk = WorkerCall(shard, images, earlier)
        talk.ask(node, range(len(order)))
        layers[name] = talk.part(node)
    found = judge(shard, graph, layers, frozenset())
    columns = (found.table.column("id").to_pylist(), found.kept, found.verdicts.to_pylist(),
               found.table.column("merged_from").to_pylist())  # fmt: skip
    return {key: rest for key, *rest in zip(*columns, strict=True)}


@pytest.mark.parametrize("name", FILTERS)
def test_a_verdict_does_not_depend_on_the_neighbours(name: str, quickstart: Quickstart) -> None:
    count = len(quickstart.shard.records)
    together = verdicts(name, quickstart, range(count))
    assert together == verdicts(name, quickstart, range(count)[::-1])
    alone: dict[str, Any] = {}
    for number in range(count):
        alone |= verdicts(name, quickstart, [number])
    assert together == alone
    assert any(judged for _, judged, _ in together.values()), "it judged nothing at all"


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_judges_nothing_when_nothing_was_said(name: str, quickstart: Quickstart) -> None:
    assert verdicts(name, quickstart, []) == {}


@pytest.mark.parametrize("name", NAMES)
def test_declarations_are_consistent(name: str) -> None:
    stage_class = find_stage(name)
    reads = [task for wanted in stage_class.reads for task in wanted.tasks]
    assert set(reads) <= set(words.TASKS)
    if issubclass(stage_class, Specialist):
        assert stage_class.produces
        assert set(stage_class.produces) <= set(words.TASKS)
    else:
        assert reads, "a filter that reads nothing judges nothing"
    assert stage_class.version >= 1
    assert inspect.getdoc(stage_class)


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


@pytest.mark.parametrize("name", NAMES)
def test_every_option_is_documented_and_has_a_default(name: str) -> None:
    config_class = find_stage(name).Config
    documented: set[str] = set()
    for one in config_class.__mro__:
        if one.__module__.startswith("pydantic") or one is object:
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(one))).body[0].body  # type: ignore[attr-defined]
        for field, text in pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
                documented.add(field.target.id)  # type: ignore[union-attr]
    assert set(config_class.model_fields) <= documented
    assert config_class().model_dump(mode="json") is not None
    assert config_class.model_config.get("extra") == "forbid"
    assert config_class.model_config.get("frozen")


@pytest.mark.parametrize("name", NAMES)
def test_who_speaks_is_known_before_loading_and_does_not_change(name: str) -> None:
    before, after = unloaded(name), loaded(name)
    assert (before.model, before.revision()) == (after.model, after.revision())


@pytest.mark.parametrize("name", NAMES)
def test_a_stage_travels_to_its_worker(name: str) -> None:
    stage_class = find_stage(name)
    stage = pickle.loads(pickle.dumps(stage_class(stage_class.Config())))
    assert stage.config == stage_class.Config()


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
