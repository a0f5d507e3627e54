"""Which stages a trial runs."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from florilegium.engine.core.errors import ConfigError, MissingPackage, PlanError, UsageError
from florilegium.engine.execution.preparation import prepare
from florilegium.engine.planning.config import SourceEntry
from florilegium.pipelines.trial.images import look_at
from florilegium.pipelines.trial.trial import prepare_trial
from tests.building import BRIGHT_ENOUGH as ENOUGH
from tests.building import DESCRIBED, configure
from tests.pipelines.trial.conftest import BRIGHTEST, DESCRIBE, Try, config_of


def test_a_stage_of_a_config_brings_its_options_and_its_upstream_alone(
    tried: Try, images: list[str]
) -> None:
    others = {"silent": {"use": "tests.stages:Silent"}, "echo": {"use": "tests.stages:Echo"}}
    trial = tried("describe", images, config=config_of(specialists={**DESCRIBED, **others}))
    assert [cost.name for cost in trial.costs] == ["bright", "describe"]
    assert trial.images[0].rows[0]["text"] == "A picture with a bright corner."


def test_a_stage_that_is_not_in_the_config_reads_what_its_stages_predict(
    tried: Try, images: list[str]
) -> None:
    trial = tried(DESCRIBE, images, config=config_of())
    assert [cost.name for cost in trial.costs] == ["bright", "Describe"]


def test_a_stage_has_the_fingerprint_that_it_has_in_a_build(
    album: Path, images: list[str], tmp_path: Path
) -> None:
    stages = {"specialists": DESCRIBED, "filters": ENOUGH}
    built = prepare(configure(album, tmp_path / "out", **stages)).graph
    trial = prepare_trial(
        "describe", images, scratch=tmp_path / "scratch", config=config_of(**stages)
    )
    node = next(node for node in built.nodes if node.name == "describe")
    assert trial.selection.node.fingerprint == node.fingerprint


def test_a_gate_judges_before_the_stage_without_the_stages_that_only_the_filter_reads(
    tried: Try, images: list[str]
) -> None:
    """Of two detectors, masks are made of one: the other is not needed for the gate."""
    boxes = {
        "bright": {"use": BRIGHTEST},
        "other": {"use": BRIGHTEST},
        "masks": {"use": "grabcut", "reads": "bright"},
    }
    filters = {"region_score": {"specialists": {"bright": 1.0}}}
    trial = tried("masks", images, config=config_of(specialists=boxes, filters=filters))
    assert [cost.name for cost in trial.costs] == ["bright", "masks"]
    assert trial.images[0].rows == ()  # no box passed


def test_a_filter_that_measures_before_the_stage_is_asked_for_that(
    tried: Try, images: list[str]
) -> None:
    boxes = {"bright": {"use": BRIGHTEST}, "masks": {"use": "grabcut", "reads": "bright"}}
    trial = tried("masks", images, config=config_of(specialists=boxes, filters=ENOUGH))
    assert {cost.name for cost in trial.costs} == {"bright", "enough", "masks"}


def test_labels_beside_an_image_are_what_a_stage_may_require(
    tried: Try, album: Path, tmp_path: Path
) -> None:
    image = tmp_path / "cat.jpg"
    image.write_bytes((album / "cat.jpg").read_bytes())
    with pytest.raises(UsageError, match="reads caption"):
        tried("tests.stages:First", [str(image)])
    image.with_suffix(".txt").write_text("a cat on a chair")
    assert tried("tests.stages:First", [str(image)]).failures == []


def test_a_share_of_the_images_is_not_for_a_trial(tried: Try, images: list[str]) -> None:
    stages = {"bright": {"use": BRIGHTEST, "sample_share": 1e-9}}
    trial = tried("bright", images, config=config_of(specialists=stages))
    assert [len(image.rows) for image in trial.images] == [1, 1]


def test_what_a_stage_reads_and_nobody_gives_is_an_error_with_the_cure(
    tried: Try, images: list[str]
) -> None:
    with pytest.raises(UsageError, match=r"reads object_detection, .*--config .*--annotations"):
        tried(DESCRIBE, images)


def test_two_stages_of_one_class_have_to_be_named(tried: Try, images: list[str]) -> None:
    twice = {"one": {"use": BRIGHTEST}, "two": {"use": BRIGHTEST}}
    with pytest.raises(UsageError, match=f"one, two of the config are '{BRIGHTEST}'"):
        tried(BRIGHTEST, images, config=config_of(specialists=twice))


def test_a_new_stage_with_the_name_of_another_gets_a_name_of_its_own(
    tried: Try, images: list[str]
) -> None:
    config = config_of(specialists={"Describe": {"use": BRIGHTEST}})
    trial = tried(DESCRIBE, images, config=config)
    assert [cost.name for cost in trial.costs] == ["Describe", "Describe_"]


def test_options_lie_over_those_of_the_config(tried: Try, images: list[str]) -> None:
    config = config_of(filters={"enough": {"use": "tests.stages:BrightEnough", "minimum": 0.0}})
    assert tried("enough", images, config=config).images[0].rows[0]["kept"]
    strict = tried("enough", images, config=config, overrides=["minimum=1.0"])
    assert not strict.images[0].rows[0]["kept"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("minimun=1", "unknown key 'minimun', did you mean 'minimum'"),
        ("minimum", "--set 'minimum': write KEY=VALUE"),
    ],
)
def test_a_wrong_option_is_an_error(
    tried: Try, images: list[str], override: str, message: str
) -> None:
    config = config_of(filters={"enough": {"use": "tests.stages:BrightEnough"}})
    with pytest.raises(UsageError, match=message):
        tried("enough", images, config=config, overrides=[override])


def test_an_unknown_stage_is_an_error_with_the_nearest(tried: Try, images: list[str]) -> None:
    with pytest.raises(PlanError, match="unknown stage 'rapidorc', did you mean 'rapidocr'"):
        tried("rapidorc", images)


def test_packages_of_other_stages_of_the_config_may_be_missing(
    tried: Try, images: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.stages.Silent.needs", ("not_a_package",))
    specialists = {"bright": {"use": BRIGHTEST}, "silent": {"use": "tests.stages:Silent"}}
    config = config_of(specialists=specialists)
    assert len(tried("bright", images, config=config).images) == 2
    with pytest.raises(MissingPackage, match="pip install not_a_package"):
        tried("silent", images, config=config)


def test_a_folder_for_modules_has_to_be_named(
    tried: Try, images: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = "from tests.stages import Silent as Own\n"
    (tmp_path / "a_plugin_of_mine.py").write_text(module)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PlanError, match="--plugin-path \\."):
        tried("a_plugin_of_mine:Own", images)
    monkeypatch.setattr("sys.path", [*sys.path])
    assert tried("a_plugin_of_mine:Own", images, plugin_path=["."]).node.name == "Own"


def test_an_image_that_is_not_there_is_an_error(tried: Try, images: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"dog\.jpg does not exist"):
        tried(BRIGHTEST, [images[0].replace("cat", "dog")])


def test_a_folder_is_taken_as_its_images(tried: Try, album: Path) -> None:
    trial = tried(BRIGHTEST, [str(album)])
    assert len(trial.images) == 12
    assert trial.images[0].name == str(album / "astronaut.jpg")


def test_a_large_folder_is_refused(
    tried: Try, album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("florilegium.pipelines.trial.images.MOST", 11)
    with pytest.raises(ConfigError, match="12 images: a trial takes 11 at most"):
        tried(BRIGHTEST, [str(album)])


def test_modules_of_stages_that_are_not_tried_are_not_imported(
    tried: Try, images: list[str]
) -> None:
    absent = {"use": "no_module_of_a_test:Absent"}
    config = config_of(
        specialists={**DESCRIBED, "absent": absent},
        filters={**ENOUGH, "gone": absent},
    )
    trial = tried("bright", images, config=config)
    assert [cost.name for cost in trial.costs] == ["bright"]
    reads = {"describe": {**DESCRIBED["describe"], "reads": "bright"}}
    config = config_of(specialists={**DESCRIBED, **reads, "absent": absent})
    trial = tried("describe", images, config=config)
    assert [cost.name for cost in trial.costs] == ["bright", "describe"]


@pytest.mark.parametrize("kind", ["folder", "auto"])
def test_labels_are_read_with_the_options_of_the_source_of_the_config(
    images: list[str], tmp_path: Path, kind: str
) -> None:
    image = Path(shutil.copy(images[0], tmp_path / "cat.jpg"))
    image.with_suffix(".txt").write_text("eine süße Katze", "cp1252")
    source = [SourceEntry(url="/nowhere", kind=kind, encoding="cp1252")]
    limits = config_of().limits
    assert look_at([str(image)], limits).sources[0].provides == ()
    assert look_at([str(image)], limits, source).sources[0].provides == ("caption",)
