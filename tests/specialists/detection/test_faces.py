from __future__ import annotations

import numpy as np
import pytest

from florilegium.specialists.detection.faces import Faces, FacesConfig


@pytest.fixture(scope="module")
def faces() -> Faces:
    stage = Faces(FacesConfig())
    stage.load()
    return stage


def test_the_face_of_a_photograph_is_found_at_its_place(faces: Faces, photograph) -> None:
    (found,) = faces.predict([photograph("astronaut")])
    x1, y1, x2, y2 = found[0].box_xyxy
    assert (found[0].task, found[0].label, found[0].score) == (
        "object_detection",
        "human face",
        None,
    )
    assert x1 < 205 < 240 < x2  # the eyes, at about (207, 108) and (238, 108)
    assert y1 < 108 < 145 < y2  # and the mouth
    assert x2 - x1 < 140


def test_nothing_is_found_in_photographs_without_people(faces: Faces, photograph) -> None:
    assert faces.predict([photograph(name) for name in ("cat", "cup", "rocket")]) == [[], [], []]


def test_boxes_are_those_of_the_image_whatever_its_size(faces: Faces, photograph, drawing) -> None:
    import cv2

    whole = photograph("astronaut")
    (wanted,) = faces.predict([whole])
    double = drawing(cv2.resize(whole.image, None, fx=2, fy=2))
    (found,) = faces.predict([double])
    np.testing.assert_allclose(
        np.array(found[0].box_xyxy) / 2, np.array(wanted[0].box_xyxy), atol=20
    )


def test_most_faces_are_found_and_crops_beside_them_are_not(drawing) -> None:
    """25 faces and 25 other crops of "Labeled Faces in the Wild", with some margin."""
    from skimage.data import lfw_subset

    samples = []
    for crop in lfw_subset()[::4]:
        canvas = np.full((80, 80), 128, np.uint8)
        canvas[15:65, 15:65] = (crop * 255).astype(np.uint8).repeat(2, 0).repeat(2, 1)
        samples.append(drawing(canvas))
    faces = Faces(FacesConfig(side=144))
    faces.load()
    found = [bool(one) for one in faces.predict(samples)]
    assert sum(found[:25]) >= 20
    assert sum(found[25:]) <= 1


def test_images_that_are_too_thin_have_no_faces(faces: Faces, awkward) -> None:
    assert faces.predict(awkward)[:3] == [[], [], []]


def test_a_sure_face_is_one_box_at_its_place(photograph) -> None:
    sure = Faces(FacesConfig(sure=True))
    sure.load()
    (found,) = sure.predict([photograph("astronaut")])
    assert len(found) == 1
    x1, y1, x2, y2 = found[0].box_xyxy
    assert x1 < 205 < 240 < x2
    assert y1 < 108 < 145 < y2
    assert sure.predict([photograph("cat")]) == [[]]


def test_what_the_mirrored_image_does_not_show_is_no_sure_face(monkeypatch, drawing) -> None:
    hits = [
        [(40, 40, 100, 100), (45, 42, 95, 92), (150, 20, 190, 60)],  # one face twice, a ghost
        [(98, 41, 158, 101), (10, 100, 50, 140)],  # the face, mirrored, and another ghost
    ]
    searches = iter(np.array(one, float) for one in hits)
    monkeypatch.setattr(Faces, "_search", lambda self, pixels: next(searches))
    sure = Faces(FacesConfig(sure=True, side=200))
    (found,) = sure.predict([drawing(np.zeros((200, 200, 3), np.uint8))])
    assert [one.box_xyxy for one in found] == [(40, 40, 100, 100)]


def test_a_whole_person_is_boxed_by_proportion_inside_the_image(monkeypatch, drawing) -> None:
    searches = [np.array([[80.0, 20, 100, 40]]), np.array([[80.0, 20, 100, 40]])]
    monkeypatch.setattr(Faces, "_search", lambda self, pixels: searches.pop())
    whole = Faces(FacesConfig(whole=True, label="person", side=200))
    wide, low = (
        drawing(np.zeros((200, 200, 3), np.uint8)),
        drawing(np.zeros((80, 200, 3), np.uint8)),
    )
    (one,), (other,) = whole.predict([wide, low])
    assert one.label == "person"
    assert one.box_xyxy == pytest.approx((62, 9, 118, 159))
    assert other.box_xyxy == pytest.approx((62, 9, 118, 80)), "cut at the bottom"
