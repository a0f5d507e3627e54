from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from florilegium.engine.core.annotation import SOURCE, Annotation
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.tasks import CAPTION_TASKS
from florilegium.specialists.captions.template_caption import TemplateCaption, TemplateCaptionConfig
from florilegium.specialists.detection.imagenet_cam import ImageNetCam
from florilegium.specialists.ocr.rapidocr import RapidOcr
from florilegium.specialists.regions.window import Window, encoded
from tests.specialists.conftest import SampleOf


def box(label: str, score: float | None, *box_xyxy: float) -> Annotation:
    return Annotation(
        kind="region", task="object_detection", label=label, box_xyxy=box_xyxy, score=score
    )


def tag(label: str, score: float) -> Annotation:
    return Annotation(kind="text", task="tag", text=label, label=label, score=score)


def line(text: str, score: float, *box_xyxy: float) -> Annotation:
    return Annotation(kind="region", task="ocr", text=text, box_xyxy=box_xyxy, score=score)


def texts(template_caption: TemplateCaption, sample: Sample) -> dict[str, str]:
    [captions] = template_caption.predict([sample])
    return {caption.task: caption.text for caption in captions}


@pytest.fixture(scope="module")
def grey() -> np.ndarray:
    return np.full((300, 300, 3), 128, np.uint8)


def test_a_motorcycle_is_described_at_three_lengths(
    template_caption: TemplateCaption,
    imagenet_cam: ImageNetCam,
    rapidocr: RapidOcr,
    photograph: SampleOf,
) -> None:
    bare = photograph("motorcycle")
    predicted = imagenet_cam.predict([bare])[0] + rapidocr.predict([bare])[0]
    assert texts(template_caption, photograph("motorcycle", *predicted)) == {
        "caption": "A large red motorcycle in the centre.",
        "detailed_caption": (
            'A large red motorcycle in the centre. The text "YAMAHA" is written in the centre.'
        ),
        "more_detailed_caption": (
            "The picture shows a large red motorcycle. The motorcycle is in the centre and takes "
            'up about half of the picture. The text "YAMAHA" is written in the centre.'
        ),
    }


def test_colours_are_those_of_the_thing_not_of_its_surroundings(
    template_caption: TemplateCaption, photograph: SampleOf
) -> None:
    flower = photograph("flower", box("daisy", 0.8, 160, 100, 440, 350))
    written = texts(template_caption, flower)
    assert written["caption"] == "An orange daisy in the centre."
    assert written["detailed_caption"].endswith("The background is mostly dark teal.")
    beside = photograph("flower", box("leaf", 0.8, 0, 0, 150, 400))
    assert "orange" not in texts(template_caption, beside)["caption"]


def test_a_grey_thing_on_grey_has_no_colour(
    template_caption: TemplateCaption, drawing: SampleOf, grey: np.ndarray
) -> None:
    sample = drawing(grey, box("anvil", 0.8, 100, 100, 200, 200))
    assert texts(template_caption, sample)["caption"] == "An anvil in the centre."


def test_things_of_one_kind_are_counted_and_placed(
    template_caption: TemplateCaption, drawing: SampleOf, grey: np.ndarray
) -> None:
    sample = drawing(
        grey,
        box("wolf", 0.9, 0, 0, 90, 90),
        box("wolf", 0.8, 210, 210, 300, 300),
        box("wolf", 0.7, 5, 5, 95, 95),
    )
    written = texts(template_caption, sample)
    assert written["caption"] == "Two wolves."
    assert (
        "The wolves are at the top left and at the bottom right."
        in written["more_detailed_caption"]
    )


def test_of_two_names_for_one_place_the_surer_is_told(
    template_caption: TemplateCaption, drawing: SampleOf, grey: np.ndarray
) -> None:
    sample = drawing(grey, box("barn", 0.4, 90, 90, 210, 210), box("palace", 0.6, 95, 95, 205, 205))
    assert "barn" not in " ".join(texts(template_caption, sample).values())


def test_of_two_names_for_one_place_that_of_the_source_is_mentioned(
    template_caption: TemplateCaption, drawing: SampleOf, grey: np.ndarray
) -> None:
    human = replace(box("barn", None, 90, 90, 210, 210), specialist=SOURCE)
    found = (box("palace", 0.9, 95, 95, 205, 205), human)
    sample = replace(drawing(grey), annotations=found)
    written = " ".join(texts(template_caption, sample).values())
    assert "barn" in written
    assert "palace" not in written
    by_score = TemplateCaption(TemplateCaptionConfig(source_first=False))
    written = " ".join(texts(by_score, sample).values())
    assert "palace" in written
    assert "barn" not in written


def test_different_things_are_listed_and_set_beside_each_other(
    template_caption: TemplateCaption, drawing: SampleOf, grey: np.ndarray
) -> None:
    sample = drawing(
        grey,
        box("hourglass", 0.9, 10, 110, 90, 190),
        box("sunglasses", 0.8, 210, 110, 290, 190),
        box("unicycle", 0.7, 120, 10, 180, 90),
    )
    written = texts(template_caption, sample)
    assert written["detailed_caption"].startswith(
        "An hourglass on the left, sunglasses on the right and a unicycle at the top."
    )
    assert "The sunglasses are to the right of the hourglass." in written["more_detailed_caption"]


@pytest.mark.parametrize(
    "unsure",
    [
        (),
        (box("barn", 0.1, 10, 10, 200, 200),),
        (tag("barn", 0.3),),
        (line("barn", 0.4, 10, 10, 200, 200), line("8", 0.99, 10, 10, 200, 200)),
    ],
)
def test_nothing_is_said_when_nothing_is_known(
    template_caption: TemplateCaption,
    drawing: SampleOf,
    grey: np.ndarray,
    unsure: tuple[Annotation, ...],
) -> None:
    assert template_caption.predict([drawing(grey, *unsure)]) == [[]]


def test_a_sure_tag_without_a_box_is_told_without_a_place(
    template_caption: TemplateCaption, drawing: SampleOf, grey: np.ndarray
) -> None:
    written = texts(template_caption, drawing(grey, tag("volcano", 0.9)))
    assert written["caption"] == "A volcano."


def test_a_page_of_text_is_quoted(
    template_caption: TemplateCaption, drawing: SampleOf, grey: np.ndarray
) -> None:
    sample = drawing(grey, line('The "best"\ntea', 0.9, 100, 10, 200, 40))
    written = texts(template_caption, sample)
    assert written["caption"] == "Text that reads \"The 'best' tea\"."
    assert written["detailed_caption"].startswith(
        "The text \"The 'best' tea\" is written at the top."
    )


def test_the_score_is_that_of_the_least_sure_part(
    template_caption: TemplateCaption, drawing: SampleOf, grey: np.ndarray
) -> None:
    sample = drawing(
        grey, box("barn", 0.9, 10, 110, 90, 190), box("tractor", 0.3, 210, 110, 290, 190)
    )
    [[brief, detailed, more]] = template_caption.predict([sample])
    assert (brief.score, detailed.score, more.score) == (0.9, 0.3, 0.3)
    [[unscored, *_]] = template_caption.predict(
        [drawing(grey, box("barn", None, 10, 110, 90, 190))]
    )
    assert unscored.score is None


def test_captions_are_english_sentences(
    template_caption: TemplateCaption, imagenet_cam: ImageNetCam, photograph: SampleOf
) -> None:
    for name in ("astronaut", "cat", "cup", "rocket", "flower", "pagoda"):
        [predicted] = imagenet_cam.predict([photograph(name)])
        [captions] = template_caption.predict([photograph(name, *predicted)])
        assert [caption.task for caption in captions] == [
            task for task in CAPTION_TASKS if task in {caption.task for caption in captions}
        ]
        lengths = [len(caption.text) for caption in captions]
        assert lengths == sorted(set(lengths))
        for caption in captions:
            assert caption.language == "en"
            for part in re.split(r"(?<=\.) ", caption.text):
                assert re.fullmatch(r"[A-Z][^.]*\.", part)
            assert not re.search(r"  |\ba [aeio]|\ban [^aeiouh]|\s[.,]", caption.text)


def test_answers_depend_neither_on_the_batch_nor_on_its_order(
    template_caption: TemplateCaption, photograph: SampleOf, awkward: list[Sample]
) -> None:
    samples = [photograph("cat", box("cat", 0.7, 0, 0, 405, 300)), *awkward]
    together = template_caption.predict(samples)
    assert [len(captions) for captions in together] == [2, 0, 0, 0, 0]
    assert together[::-1] == template_caption.predict(samples[::-1])
    assert template_caption.predict([]) == []


def test_images_of_any_shape_can_be_told_of(
    template_caption: TemplateCaption, drawing: SampleOf
) -> None:
    pixels = np.zeros((3, 20_000, 3), np.uint8)
    strip = drawing(pixels, box("rope", 0.9, 0, 0, 20_000, 3))
    dot = drawing(pixels[:1, :1], box("dot", 0.9, 0, 0, 1, 1))
    assert texts(template_caption, strip)["caption"] == "A rope filling most of the picture."
    assert texts(template_caption, dot)["caption"] == "A dot filling most of the picture."


def masked(pixels: np.ndarray, support: float, drawing: SampleOf) -> Sample:
    """A sample with a box, and its mask if it is read."""
    found = replace(box("jug", 0.8, 30, 30, 70, 70), id="a" * 32)
    mask = np.zeros(pixels.shape[:2], dtype=bool)
    mask[30:70, 30:70] = True
    jug = Annotation(
        kind="region",
        task="segmentation",
        mask_rle=encoded(mask, Window(0, 0, 100, 100), pixels.shape),
        support=support,
        parent_id=found.id,
    )
    sample = drawing(pixels, found, jug)
    return replace(sample, upstream={"masks": frozenset(("segmentation",))})


def test_a_box_without_a_mask_that_looks_like_its_object_is_only_named(
    template_caption: TemplateCaption, drawing: SampleOf
) -> None:
    pixels = np.full((100, 100, 3), (60, 150, 60), np.uint8)
    pixels[30:70, 30:70] = (200, 30, 30)
    sure = texts(template_caption, masked(pixels, 0.9, drawing))
    assert sure["caption"] == "A red jug in the centre."
    assert texts(template_caption, masked(pixels, 0.4, drawing)) == {
        "caption": "A jug.",
        "more_detailed_caption": "The picture shows a jug.",
    }


def test_an_orange_is_not_orange_and_people_have_no_colour(
    template_caption: TemplateCaption, drawing: SampleOf
) -> None:
    pixels = np.full((100, 100, 3), (60, 150, 60), np.uint8)
    pixels[30:70, 30:70] = (240, 130, 45)
    for label, caption in (
        ("jug", "An orange jug in the centre."),
        ("orange", "An orange in the centre."),
        ("person", "A person in the centre."),
    ):
        sample = drawing(pixels, box(label, 0.8, 30, 30, 70, 70))
        assert texts(template_caption, sample)["caption"] == caption


def test_several_are_counted_only_where_all_are_sure(drawing: SampleOf, grey: np.ndarray) -> None:
    boxes = [box("cup", 0.8, 0, 0, 100, 100), box("cup", 0.4, 200, 200, 300, 300)]
    sample = drawing(grey, *boxes)
    strict = TemplateCaption(TemplateCaptionConfig(least_counted=0.5))
    assert texts(strict, sample)["caption"] == "A cup."
    assert texts(TemplateCaption(TemplateCaptionConfig()), sample)["caption"].startswith("Two cups")


def test_sizes_may_be_left_out(drawing: SampleOf) -> None:
    pixels = np.full((100, 100, 3), (60, 150, 60), np.uint8)
    stage = TemplateCaption(TemplateCaptionConfig(has_sizes=False))
    for label_box in (box("door", 0.8, 0, 0, 100, 100), box("door", 0.8, 20, 20, 90, 90)):
        written = texts(stage, drawing(pixels, label_box))
        assert written["caption"].endswith("door in the centre.")
        assert "takes up" not in str(written)


def test_a_picture_of_which_nothing_is_known_may_have_its_colours_stated(
    drawing: SampleOf, grey: np.ndarray
) -> None:
    stage = TemplateCaption(TemplateCaptionConfig(has_colours_alone=True))
    assert texts(stage, drawing(grey)) == {"caption": "A black and white picture."}
    blue = np.full((100, 100, 3), (45, 85, 190), np.uint8)
    assert texts(stage, drawing(blue)) == {"caption": "A picture that is mostly blue."}
    speckled = np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8)
    assert texts(stage, drawing(speckled)) == {}
