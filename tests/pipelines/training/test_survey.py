"""The survey of a dataset: which tasks it can train."""

from __future__ import annotations

from collections import Counter

import pytest

from florilegium.engine.core.errors import StorageError, UsageError
from florilegium.engine.results.dataset import open_dataset
from florilegium.pipelines.shape_world.scene import NAMES
from florilegium.pipelines.training.config import TrainConfig
from florilegium.pipelines.training.survey import _MAX_NAMES, _commonest, _is_fed, survey
from tests.building import BRIGHT_ENOUGH, BRIGHTEST, build, shard_file


def test_kept_annotations_are_counted_and_names_are_listed(scenes):
    found = survey(open_dataset(str(scenes)), TrainConfig(model="here"))
    assert found.kept["caption"] == 14
    assert set(found.classes) <= set(NAMES)
    assert len(found.classes) > 3
    assert all(phrase.split()[-1] in NAMES for phrase in found.phrases)


def test_the_commonest_words_are_kept_where_there_are_too_many():
    counted = Counter({"rare": 1, "": 99, "common": 7, "also rare": 1, "usual": 3})
    assert _commonest(counted) == ("also rare", "common", "rare", "usual")
    many = Counter({f"word {number:06d}": 1 for number in range(_MAX_NAMES)}) + Counter(zebra=2)
    found = _commonest(many)
    assert len(found) == _MAX_NAMES
    assert "zebra" in found
    assert f"word {_MAX_NAMES - 1:06d}" not in found


def test_a_dataset_without_kept_labels_is_refused_with_a_cure(album, tmp_path):
    filters = {"enough": {**BRIGHT_ENOUGH["enough"], "minimum": 1.0}}
    build(album, tmp_path / "dark", specialists=BRIGHTEST, filters=filters)
    with pytest.raises(
        UsageError, match=r"no kept labels.*kept: none at all.*lower the thresholds"
    ):
        survey(open_dataset(str(tmp_path / "dark")), TrainConfig(model="here"))


def test_labels_that_feed_none_of_the_tasks_are_refused(scenes):
    config = TrainConfig(model="here", tasks={"dense_region_caption": 1})
    with pytest.raises(UsageError, match="kept: 14 caption"):
        survey(open_dataset(str(scenes)), config)


def test_tasks_without_labels_are_named(scenes, album, tmp_path):
    asked = dict.fromkeys(("caption", "referring_segmentation", "region_description", "ocr"), 1.0)
    found = survey(open_dataset(str(scenes)), TrainConfig(model="here", tasks={**asked, "ocr": 0}))
    assert found.without_data == ("region_description",)
    build(album, tmp_path / "bright")
    config = TrainConfig(model="here", tasks={"region_proposal": 1, "caption": 1})
    assert survey(open_dataset(str(tmp_path / "bright")), config).without_data == ("caption",)


def test_texts_of_regions_feed_their_three_tasks():
    config = TrainConfig(model="here")
    fed = [name for name in config.tasks if _is_fed(name, {"region_description": 2}, config)]
    assert fed == ["dense_region_caption", "open_vocabulary_detection", "region_description"]


def test_masks_without_phrases_do_not_feed_referring_segmentation(scenes, tmp_path):
    import shutil

    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    shutil.copytree(scenes, tmp_path / "copy")
    for path in (tmp_path / "copy" / "shards").glob("*.parquet"):
        table = pq.read_table(path)
        pq.write_table(table.filter(pc.not_equal(table["task"], "phrase_grounding")), path)
    config = TrainConfig(model="here", tasks={"segmentation": 1, "referring_segmentation": 1})
    assert survey(open_dataset(str(tmp_path / "copy")), config).without_data == (
        "referring_segmentation",
    )
    assert survey(open_dataset(str(scenes)), config).without_data == ()


def test_one_class_is_refused_unless_it_is_meant(album, tmp_path):
    build(album, tmp_path / "bright")
    folder = open_dataset(str(tmp_path / "bright"))
    with pytest.raises(UsageError, match=r"same label 'bright corner'.*allow_one_class"):
        survey(folder, TrainConfig(model="here"))
    survey(folder, TrainConfig(model="here", allow_one_class=True))
    survey(folder, TrainConfig(model="here", tasks={"region_proposal": 1}))


def test_a_dataset_that_is_not_finished_is_refused(tmp_path):
    with pytest.raises(UsageError, match="build the dataset first"):
        survey(open_dataset(str(tmp_path)), TrainConfig(model="here"))


def test_confidences_within_the_band_are_found_kept_or_dropped(scenes, tmp_path):
    import shutil

    import pyarrow as pa
    import pyarrow.parquet as pq

    shutil.copytree(scenes, tmp_path / "copy")
    path = shard_file(tmp_path / "copy", ".parquet")
    table = pq.read_table(path)
    rows = table.num_rows
    within, beyond = [0.5, 0.3, 0.7], [0.9, 0.2999, 0.7001]
    confidence = pa.array([*within, *beyond] + [None] * (rows - 6), pa.float64())
    place = table.schema.get_field_index("confidence")
    table = table.set_column(place, "confidence", confidence)
    kept = pa.array([False] + [True] * (rows - 1))
    table = table.set_column(table.schema.get_field_index("kept"), "kept", kept)
    pq.write_table(table, path)
    config = TrainConfig(model="here", ambiguous=(0.3, 0.7))
    found = survey(open_dataset(str(tmp_path / "copy")), config)
    assert found.ambiguous == {(row["key"], row["task"]) for row in table.slice(0, 3).to_pylist()}


def test_a_damaged_file_is_named(scenes, tmp_path):
    import shutil

    shutil.copytree(scenes, tmp_path / "copy")
    shard_file(tmp_path / "copy", ".parquet", 1).write_bytes(b"no")
    with pytest.raises(StorageError, match=r"000001-\w+\.parquet"):
        survey(open_dataset(str(tmp_path / "copy")), TrainConfig(model="here"))
