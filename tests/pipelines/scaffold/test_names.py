"""What a new plugin is called, and what it cannot be called."""

from __future__ import annotations

import pytest

from florilegium.engine.core.errors import UsageError
from florilegium.pipelines.scaffold.kind import Kind
from florilegium.pipelines.scaffold.names import GROUPS, names_of


@pytest.mark.parametrize("name", ["My-Detector", "my_detector", "my.detector", "my--detector"])
def test_one_name_gives_all_others_however_it_is_spelled(name: str) -> None:
    names = names_of(Kind.SPECIALIST, name)
    assert names.distribution == "my-detector"
    assert names.module == "my_detector"
    assert names.class_name == "MyDetectorSpecialist"
    assert names.group == "florilegium.stages"


@pytest.mark.parametrize(
    ("kind", "name", "class_name"),
    [
        (Kind.FILTER, "blur", "BlurFilter"),
        (Kind.FILTER, "blur-filter", "BlurFilter"),
        (Kind.FILTER, "my-filter-2", "MyFilter2Filter"),
        (Kind.FILTER, "filter", "FilterFilter"),
        (Kind.EXPORTER, "export", "ExportExporter"),
        (Kind.SOURCE, "photo_list", "PhotoListSource"),
    ],
)
def test_the_class_ends_with_its_kind_once_and_is_not_called_like_its_base(
    kind: Kind, name: str, class_name: str
) -> None:
    assert names_of(kind, name).class_name == class_name


@pytest.mark.parametrize("kind", Kind)
def test_each_kind_has_a_group_of_entry_points(kind: Kind) -> None:
    assert GROUPS[kind].startswith("florilegium.")


@pytest.mark.parametrize(
    ("kind", "name", "problem"),
    [
        (Kind.FILTER, "my filter", "no name of a package"),
        (Kind.FILTER, "", "no name of a package"),
        (Kind.FILTER, "-blur", "no name of a package"),
        (Kind.FILTER, "../blur", "no name of a package"),
        (Kind.FILTER, "schärfe", "no name of a package"),
        (Kind.FILTER, "b" * 101, "no name of a package"),
        (Kind.FILTER, "3d", "begins with a digit"),
        (Kind.FILTER, "class", "a keyword of Python"),
        (Kind.FILTER, "json", "a module 'json' already"),
        (Kind.FILTER, "NumPy", "a module 'numpy' already"),
        (Kind.FILTER, "florilegium", "a module 'florilegium' already"),
        (Kind.FILTER, "nms", "installed already, in the group florilegium.stages"),
        (Kind.SPECIALIST, "grabcut", "installed already"),
        (Kind.SPECIALIST, "source", "the labels that come with the images"),
        (Kind.SOURCE, "folder", "installed already, in the group florilegium.sources"),
        (Kind.SOURCE, "auto", "a meaning of its own"),
        (Kind.SOURCE, "s3", "a meaning of its own"),
        (Kind.EXPORTER, "coco", "installed already, in the group florilegium.exporters"),
    ],
)
def test_a_name_that_cannot_be_used_or_is_taken_is_refused(
    kind: Kind, name: str, problem: str
) -> None:
    with pytest.raises(UsageError, match=problem) as caught:
        names_of(kind, name)
    assert f"as in `my-{kind}`" in str(caught.value) or "choose another name" in str(caught.value)


def test_a_name_that_another_kind_has_is_free() -> None:
    assert names_of(Kind.EXPORTER, "nms").module == "nms"
