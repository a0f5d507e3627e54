from __future__ import annotations

import numpy as np
import pytest
from pycocotools.mask import area, decode

from florilegium.engine.core.annotation import Annotation
from florilegium.specialists.regions.overlap import box_overlap
from florilegium.specialists.regions.window import Window
from florilegium.specialists.segmentation.grabcut import GrabCut, support_of
from tests.specialists.conftest import SampleOf


def box(label: str, *box_xyxy: float) -> Annotation:
    return Annotation(kind="region", task="object_detection", label=label, box_xyxy=box_xyxy)


def pixels_of(mask: Annotation) -> np.ndarray:
    assert mask.mask_rle is not None
    rle = {"size": list(mask.mask_rle.size), "counts": mask.mask_rle.counts}
    decoded: np.ndarray = decode(rle).astype(bool)
    assert decoded.sum() == area(rle)
    return decoded


def disc(height: int, width: int, centre_xy: tuple[int, int], radius: int) -> np.ndarray:
    rows, columns = np.ogrid[:height, :width]
    return np.asarray((columns - centre_xy[0]) ** 2 + (rows - centre_xy[1]) ** 2 <= radius**2)


def test_a_disc_is_cut_out_of_its_background(grabcut: GrabCut, drawing: SampleOf) -> None:
    truth = disc(600, 800, (400, 300), 150)
    noise = np.random.default_rng(0).integers(-8, 8, (600, 800, 3))
    pixels = np.where(truth[..., None], (200, 40, 40), (60, 120, 60)) + noise
    sample = drawing(pixels.astype(np.uint8), box("ball", 240, 145, 560, 455))
    [[mask]] = grabcut.predict([sample])
    cut = pixels_of(mask)
    assert (cut & truth).sum() / (cut | truth).sum() > 0.97
    assert mask.label == "ball"
    assert mask.parent_id == sample.annotations[0].id != ""
    rows, columns = np.flatnonzero(cut.any(axis=1)), np.flatnonzero(cut.any(axis=0))
    assert mask.box_xyxy == (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    iou, _ = box_overlap(mask.box_xyxy, sample.annotations[0].box_xyxy)
    assert mask.score == pytest.approx(iou.item())


def test_a_flower_is_cut_out_of_a_photograph(grabcut: GrabCut, photograph: SampleOf) -> None:
    sample = photograph("flower", box("daisy", 150, 100, 460, 345))
    [[mask]] = grabcut.predict([sample])
    truth = disc(sample.height, sample.width, (305, 222), 135)
    cut = pixels_of(mask)
    assert (cut & truth).sum() / (cut | truth).sum() > 0.85
    assert (mask.score or 0) > 0.7


def test_the_score_falls_when_the_mask_does_not_fill_its_box(
    grabcut: GrabCut, photograph: SampleOf
) -> None:
    sample = photograph("flower", box("", 150, 100, 460, 345), box("", 150, 20, 620, 345))
    [[fitting, loose]] = grabcut.predict([sample])
    assert (loose.score or 0) < (fitting.score or 0)


def test_no_mask_is_said_where_none_is_found(grabcut: GrabCut, drawing: SampleOf) -> None:
    grey = np.full((100, 100, 3), 127, np.uint8)
    everything, tiny, outside, empty, no_box = (
        box("wall", 0, 0, 100, 100),
        box("dot", 10, 10, 13, 13),
        box("ghost", 150, 150, 200, 200),
        box("line", 10, 10, 10, 90),
        Annotation(kind="region", task="object_detection", label="thought"),
    )
    assert grabcut.predict([drawing(grey, everything, tiny, outside, empty, no_box)]) == [[]]


def test_a_box_that_leaves_little_background_is_cut_too(
    grabcut: GrabCut, photograph: SampleOf
) -> None:
    sample = photograph("cat", box("cat", 0, 0, 405, 300))
    [[mask]] = grabcut.predict([sample])
    assert pixels_of(mask)[100:250, 100:300].all()


def test_boxes_at_the_edge_and_beyond_are_cut_within_the_image(
    grabcut: GrabCut, photograph: SampleOf
) -> None:
    sample = photograph("flower", box("daisy", 270, 345, 460, 500))
    [[mask]] = grabcut.predict([sample])
    assert mask.mask_rle is not None
    assert mask.mask_rle.size == (sample.height, sample.width)
    left, top, right, bottom = mask.box_xyxy
    assert 0 <= left < right <= sample.width
    assert 0 <= top < bottom <= sample.height


def test_thin_images_get_an_answer(grabcut: GrabCut, drawing: SampleOf) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (3, 20_000, 3), dtype=np.uint8)
    strip = drawing(noise, box("strip", 100, 0, 9000, 3))
    dot = drawing(noise[:1, :1], box("dot", 0, 0, 1, 1))
    assert grabcut.predict([strip, dot]) == [[], []]


def test_answers_are_the_same_alone_together_and_again(
    grabcut: GrabCut, photograph: SampleOf
) -> None:
    samples = [
        photograph("flower", box("daisy", 150, 100, 460, 345)),
        photograph("pagoda", box("palace", 80, 30, 370, 350), box("roof", 100, 50, 350, 150)),
    ]
    together = grabcut.predict(samples)
    assert together == [grabcut.predict([sample])[0] for sample in samples]
    assert together[::-1] == grabcut.predict(samples[::-1])
    assert grabcut.predict([]) == []


def test_only_boxes_of_objects_get_masks(grabcut: GrabCut, photograph: SampleOf) -> None:
    proposal = Annotation(kind="region", task="region_proposal", box_xyxy=(150, 100, 460, 345))
    assert grabcut.predict([photograph("flower", proposal)]) == [[]]


def test_a_mask_of_everything_but_the_object_has_no_support() -> None:
    window, shape, box_xyxy = Window(10, 10, 90, 90), (100, 100), np.array([20.0, 20, 80, 80])
    inside = np.zeros((80, 80), dtype=bool)
    inside[10:70, 10:70] = True
    assert support_of(inside, box_xyxy, window, shape) == 1.0
    assert support_of(~inside, box_xyxy, window, shape) == 0.0
    assert support_of(np.ones_like(inside), box_xyxy, window, shape) == 0.0
    whole = Window(0, 0, 100, 100)
    everything = np.ones((100, 100), dtype=bool)
    assert support_of(everything, np.array([0.0, 0, 100, 100]), whole, shape) == 1.0
