from __future__ import annotations

import os
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pytest

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.errors import ConfigError, MissingModel, MissingPackage, PlanError
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import CONTENT, Specialist, StageConfig
from florilegium.engine.planning.graph import plan
from florilegium.engine.planning.registry import require_packages
from tests.building import BRIGHT_ENOUGH, BRIGHTEST, DESCRIBED, configure
from tests.stages import Brightest


def planned(**keys: Any) -> Any:
    return plan(configure("photos", Path("out"), **keys))


def test_stages_are_sorted_so_that_each_comes_after_what_it_reads() -> None:
    backwards = dict(reversed(DESCRIBED.items()))
    graph = planned(specialists=backwards, filters=BRIGHT_ENOUGH)
    assert [node.name for node in graph.layered] == ["bright", "describe", "enough"]
    assert graph.specialists[1].upstream == {"bright": frozenset({"object_detection"})}


def test_an_unknown_stage_is_named_with_the_nearest_one() -> None:
    with pytest.raises(PlanError, match=r"unknown stage 'rapid_ocr', did you mean 'rapidocr'"):
        planned(specialists={"rapid_ocr": {}})


class Nonsense(Brightest):
    """Declares a task that is not there."""

    produces = ("object_detecton",)


def test_a_task_that_is_none_is_refused_with_the_nearest_one() -> None:
    use = f"{__name__}:Nonsense"
    message = (
        r"specialists.boxes: the stage produces 'object_detecton', which is no task; "
        r"did you mean 'object_detection'\?; a new task is an entry point"
    )
    with pytest.raises(PlanError, match=message):
        planned(specialists={"boxes": {"use": use}})


def test_a_missing_input_is_named_with_the_nearest_one() -> None:
    specialists = {**BRIGHTEST, "echo": {"use": "tests.stages:First"}}
    message = (
        r"'echo' reads caption, which no stage here produces \(they produce .*\): add a specialist "
        r"that does, or switch the stage off by --set (specialists|filters)\.echo=null"
    )
    with pytest.raises(PlanError, match=message):
        planned(specialists=specialists)


def test_an_input_may_come_from_the_source() -> None:
    config = configure("photos", Path("out"), specialists={"first": {"use": "tests.stages:First"}})
    assert plan(config, source_tasks=("caption",)).specialists[0].upstream == {}


def test_a_circle_is_told_in_full() -> None:
    circle = {
        "first": {"use": "tests.stages:First"},
        "second": {"use": "tests.stages:Second"},
    }
    with pytest.raises(
        PlanError, match=r"in a circle: .*first.*second|in a circle: .*second.*first"
    ):
        planned(specialists=circle)


def test_a_stage_may_be_told_which_stages_to_read() -> None:
    two = {
        "bright": {"use": "tests.stages:Brightest"},
        "other": {"use": "tests.stages:Brightest"},
        "describe": {"use": "tests.stages:Describe", "reads": ["other"]},
    }
    assert planned(specialists=two).specialists[2].upstream.keys() == {"other"}
    two["describe"]["reads"] = ["othr"]
    with pytest.raises(PlanError, match=r"reads 'othr', which is no specialist here; did you mean"):
        planned(specialists=two)


def test_reading_a_stage_that_says_the_wrong_thing_is_a_wrong_type() -> None:
    wrong = {
        **DESCRIBED,
        "again": {"use": "tests.stages:Describe", "reads": ["describe"]},
    }
    with pytest.raises(PlanError, match=r"reads object_detection, but 'describe' produces caption"):
        planned(specialists=wrong)


class NamesOthers(Brightest):
    """Has an option that names other stages."""

    required_stages: ClassVar[Mapping[str, tuple[str, ...]]] = {"bright": ("object_detection",)}


class NamesOneForMore(Brightest):
    """Believes that another stage says what it does not say."""

    required_stages: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "bright": ("object_detection", "ocr")
    }


def test_a_stage_that_options_name_must_be_there_and_say_what_is_wanted() -> None:
    def naming(stage: str, other: str) -> Any:
        relying = {"use": f"tests.engine.planning.test_graph:{stage}"}
        return planned(specialists={other: {"use": "tests.stages:Brightest"}, "relying": relying})

    naming("NamesOthers", "bright")
    with pytest.raises(PlanError, match=r"'relying' names 'bright'.*did you mean 'brigt'"):
        naming("NamesOthers", "brigt")
    with pytest.raises(PlanError, match=r"names 'bright' for ocr, but it produces object_det"):
        naming("NamesOneForMore", "bright")


def test_a_node_has_the_stages_that_it_reads_and_the_tasks_of_each() -> None:
    graph = planned(specialists=DESCRIBED)
    assert [node.upstream for node in graph.specialists] == [
        {},
        {"bright": frozenset({"object_detection"})},
    ]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"specialists": {"enough": BRIGHT_ENOUGH["enough"]}}, "belongs under `filters`"),
        ({"filters": {"bright": {"use": "tests.stages:Brightest"}, }, "specialists": DESCRIBED},
         "names a specialist and a filter"),
        ({"filters": {"again": {"use": "tests.stages:Brightest"}}}, "belongs under `specialists`"),
        ({"specialists": {"x": {"use": "tests.stages:not_a_stage"}}}, "is not a stage"),
        ({"specialists": {"x": {"use": "tests.stages:Absent"}}}, "cannot be imported"),
        ({"specialists": {"source": {"use": "tests.stages:Brightest"}}}, "belongs to the labels"),
    ],
)  # fmt: skip
def test_a_stage_of_the_wrong_type_is_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        planned(**keys)


def test_an_unknown_option_of_a_stage_is_named_with_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match=r"'batch_sise', did you mean 'batch_size'"):
        planned(specialists={"bright": {"use": "tests.stages:Brightest", "batch_sise": 2}})


@pytest.mark.parametrize("share", [0, 1.5, -0.1, "half", True, None])
def test_a_share_of_samples_that_is_none_is_refused(share: object) -> None:
    with pytest.raises(ConfigError, match=r"specialists\.bright: sample_share = .*above 0 and up"):
        planned(specialists={"bright": {**BRIGHTEST["bright"], "sample_share": share}})


def test_a_filter_judges_all_samples() -> None:
    enough = {**BRIGHT_ENOUGH["enough"], "sample_share": 0.5}
    with pytest.raises(ConfigError, match=r"filters\.enough: a filter judges all samples"):
        planned(specialists=BRIGHTEST, filters={"enough": enough})


def test_a_share_of_samples_names_other_layers_and_all_samples_the_same_as_ever() -> None:
    bright = BRIGHTEST["bright"]
    nodes = {
        share: planned(specialists={**DESCRIBED, "bright": {**bright, **share_of}}).specialists
        for share, share_of in (
            ("unnamed", {}),
            ("all", {"sample_share": 1}),
            ("half", {"sample_share": 0.5}),
        )
    }
    prints = {share: [node.fingerprint for node in own] for share, own in nodes.items()}
    assert prints["all"] == prints["unnamed"]
    assert set(prints["half"]).isdisjoint(prints["all"])
    assert nodes["half"][0].configuration()["config"]["sample_share"] == 0.5
    assert "sample_share" not in nodes["all"][0].configuration()["config"]
    whole = planned(specialists={"bright": {**bright, "sample_share": 0.5}}).about_all()
    assert whole.specialists[0].sample_share == 1


def test_a_missing_package_is_told_with_the_line_that_installs_it() -> None:
    class Needy(Brightest):
        needs = ("a_package_nobody_has",)
        extra = "starter"

    with pytest.raises(MissingPackage, match=r"pip install 'florilegium\[starter\]'"):
        require_packages("needy", Needy)


def test_a_fingerprint_depends_on_what_is_said_and_not_on_speed_or_thresholds() -> None:
    def fingerprints(**bright: Any) -> list[str]:
        threshold = bright.pop("minimum", 0.5)
        stages = {**DESCRIBED, "bright": {**BRIGHTEST["bright"], **bright}}
        filters = {"enough": {"use": "tests.stages:BrightEnough", "minimum": threshold}}
        return [node.fingerprint for node in planned(specialists=stages, filters=filters).nodes]

    base = fingerprints()
    assert fingerprints(batch_size=3) == base
    assert fingerprints(minimum=0.9) == base


class NamedConfig(StageConfig):
    """What a stage would say."""

    saying: str = "one"
    """A word."""


class Named(Specialist[NamedConfig]):
    """Says nothing; all that names it can be changed."""

    Config = NamedConfig
    produces = ("object_detection",)

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        return [[] for _ in samples]


class Renamed(Named):
    """The same from another place."""


@pytest.mark.parametrize(
    ("of_class", "of_config"),
    [
        ({"version": 9}, {}),
        ({"model": "another model"}, {}),
        ({"revision": lambda self: "another revision"}, {}),
        ({}, {"name": "other"}),
        ({}, {"use": "tests.engine.planning.test_graph:Renamed"}),
        ({}, {"saying": "two"}),
    ],
    ids=["version", "model", "revision", "name", "use", "option"],
)
def test_all_that_shapes_what_a_stage_says_is_in_its_fingerprint_and_those_of_its_readers(
    of_class: dict[str, Any], of_config: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fingerprints(name: str = "named", use: str = "tests.engine.planning.test_graph:Named",
                     saying: str = "one") -> list[str]:  # fmt: skip
        stages = {name: {"use": use, "saying": saying}, "describe": DESCRIBED["describe"]}
        return [node.fingerprint for node in planned(specialists=stages).nodes]

    before = fingerprints()
    for attribute, value in of_class.items():
        monkeypatch.setattr(Named, attribute, value)
    after = fingerprints(**of_config)
    assert len({*before, *after}) == 4, "both stages have another fingerprint"
    assert fingerprints(**of_config) == after


class ListedConfig(StageConfig):
    """Names a file."""

    path: Annotated[str, CONTENT]
    """A list of words."""


class Listed(Specialist[ListedConfig]):
    """Says what a list has; its revision is the list."""

    Config = ListedConfig
    produces = ("object_detection",)

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        return [[] for _ in samples]

    def revision(self) -> str:
        return Path(self.config.path).read_text("utf-8")


def test_of_an_option_that_names_content_the_content_counts_and_not_the_path(
    tmp_path: Path,
) -> None:
    def fingerprint(name: str, words: str) -> str:
        (tmp_path / name).write_text(words, "utf-8")
        use = "tests.engine.planning.test_graph:Listed"
        graph = planned(specialists={"listed": {"use": use, "path": str(tmp_path / name)}})
        return str(graph.specialists[0].fingerprint)

    assert fingerprint("one", "a cat") == fingerprint("two", "a cat")
    assert fingerprint("one", "a dog") != fingerprint("two", "a cat")


def test_the_recipe_is_of_everything_that_shapes_a_shard() -> None:
    def recipe(**keys: Any) -> str:
        return planned(**{"specialists": DESCRIBED, **keys}).recipe

    changes = [{}, {"images": "png"}, {"images": "original"}, {"specialists": BRIGHTEST},
               {"filters": BRIGHT_ENOUGH}]  # fmt: skip
    assert len({recipe(**change) for change in changes}) == len(changes)
    assert recipe() == recipe(specialists={**DESCRIBED, "bright": {**BRIGHTEST["bright"],
                                                                   "batch_size": 3}})  # fmt: skip


def test_stages_that_could_go_in_any_order_keep_that_of_the_config() -> None:
    names = ["zebra", "ant", "mole", "bee"]
    graph = planned(specialists=dict.fromkeys(names, BRIGHTEST["bright"]))
    assert [node.name for node in graph.specialists] == names


def test_a_change_of_one_stage_changes_the_fingerprints_of_its_readers_only(tmp_path: Path) -> None:
    def fingerprints(saying: str) -> dict[str, str]:
        log = str(tmp_path / "log")
        counting = {"use": "tests.stages:Counting", "log": log, "saying": saying}
        graph = planned(specialists={**DESCRIBED, "counting": counting})
        return {node.name: node.fingerprint for node in graph.nodes}

    one, other = fingerprints("one"), fingerprints("other")
    assert {name for name in one if one[name] != other[name]} == {"counting"}


def test_the_recipe_changes_with_a_threshold() -> None:
    def recipe(minimum: float) -> str:
        filters = {"enough": {"use": "tests.stages:BrightEnough", "minimum": minimum}}
        return planned(filters=filters).recipe

    assert recipe(0.5) == recipe(0.5) != recipe(0.6)


class Keyed(Brightest):
    """Its model is named by what only this machine has."""

    def revision(self) -> str:
        return os.environ["GRAPH_KEY"]


def test_a_worker_without_weights_and_keys_names_the_same_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GRAPH_KEY", "r1")
    graph = planned(specialists={"keyed": {"use": "tests.engine.planning.test_graph:Keyed"}})
    sent, recipe = pickle.dumps(graph), graph.recipe
    monkeypatch.delenv("GRAPH_KEY")
    received = pickle.loads(sent)
    assert received.recipe == recipe
    assert received.specialists[0].provenance.revision == "r1"


class Elsewhere(Brightest):
    """Its model is not here."""

    def revision(self) -> str:
        raise MissingModel("model is not here:", "hf download someone/this")


def test_all_models_that_are_not_here_are_told_at_once() -> None:
    absent = {"use": "tests.engine.planning.test_graph:Elsewhere"}
    config = configure(Path("photos"), Path("out"), specialists={"a": absent, "b": absent})
    with pytest.raises(MissingModel, match=r"models of a, b .*:\nhf download someone/this$"):
        plan(config)


def test_a_graph_that_is_only_looked_at_may_lack_models() -> None:
    absent = {"use": "tests.engine.planning.test_graph:Elsewhere"}
    config = configure(Path("photos"), Path("out"), specialists={"a": absent})
    graph = plan(config, is_dry=True)
    assert [node.name for node in graph.nodes] == ["a"]
    assert graph.missing == ("hf download someone/this",)


class Wanting(Brightest):
    """Needs a package that is not there, for its code and for its model."""

    needs = ("no_such_package_here",)
    extra = "starter"

    def require(self) -> None:
        raise MissingPackage("parsing needs x: pip install x", install="x")

    def revision(self) -> str:
        raise MissingModel(
            "model is not here:",
            "hf download someone/this",
            packages=[MissingPackage("y needs y: pip install y", install="florilegium[online]")],
        )


def test_all_packages_that_are_missing_are_told_at_once_with_one_line() -> None:
    wanting = {"use": "tests.engine.planning.test_graph:Wanting"}
    config = configure(Path("photos"), Path("out"), specialists={"a": wanting, "b": wanting})
    with pytest.raises(MissingPackage) as caught:
        plan(config)
    assert str(caught.value).splitlines() == [
        "packages are missing:",
        "  stage 'a' needs no_such_package_here, not installed: pip install 'florilegium[starter]'",
        "  parsing needs x: pip install x",
        "  stage 'b' needs no_such_package_here, not installed: pip install 'florilegium[starter]'",
        "  y needs y: pip install y",
        "all of them: pip install 'florilegium[online,starter]' x",
    ]
    graph = plan(config, is_dry=True)
    assert graph.missing == ("hf download someone/this",)
    assert (len(graph.absent), len(graph.awaited)) == (4, 2)
