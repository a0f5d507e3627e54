from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from florilegium.engine.core.annotation import SOURCE, Annotation
from florilegium.engine.core.sample import Picture, Sample
from florilegium.specialists.captions.template_caption import TemplateCaption
from florilegium.specialists.grounding.phrase_match import KIND_OF, MORE_GENERAL, SAME, PhraseMatch
from florilegium.specialists.ocr.rapidocr import RapidOcr
from tests.specialists.conftest import SampleOf

BLANK = Picture(b"")


def caption(text: str, task: str = "caption", language: str = "en") -> Annotation:
    return Annotation(kind="text", task=task, text=text, language=language, id=f"{task}-id")


def box(label: str, score: float | None = 0.5, left: float = 0) -> Annotation:
    return Annotation(
        kind="region",
        task="object_detection",
        label=label,
        box_xyxy=(left, 0, left + 10, 10),
        score=score,
    )


def line(text: str, left: float = 0, top: float = 0) -> Annotation:
    place = (left, top, left + 50, top + 10)
    return Annotation(kind="region", task="ocr", text=text, box_xyxy=place, score=0.9)


def marked(phrase_match: PhraseMatch, text: str, *annotations: Annotation) -> list[str]:
    """Return each phrase with the number of its occurrence in the caption and of its region."""
    [phrases] = phrase_match.predict([sample(caption(text), *annotations)])
    boxes = [one.box_xyxy for one in annotations]
    for phrase in phrases:
        assert text[slice(*phrase.span)] == phrase.text
    return [
        f"{phrase.text} {text.count(phrase.text, 0, phrase.span[0])} {boxes.index(phrase.box_xyxy)}"
        for phrase in phrases
    ]


def sample(*annotations: Annotation) -> Sample:
    return Sample(key="blank", width=100, height=100, picture=BLANK, annotations=annotations)


def grounded(phrase_match: PhraseMatch, *annotations: Annotation) -> list[tuple[str, str]]:
    [phrases] = phrase_match.predict([sample(*annotations)])
    return [(phrase.text, phrase.label) for phrase in phrases]


def test_a_phrase_gets_the_box_of_its_name_with_span_and_parent(phrase_match: PhraseMatch) -> None:
    text = "The picture shows a small dog beside a red motor scooter."
    scooter = box("motor scooter", 0.6, left=40)
    [[phrase]] = phrase_match.predict([sample(caption(text), scooter, box("cat"))])
    assert phrase.kind == "phrase"
    assert phrase.task == "phrase_grounding"
    assert phrase.text == "a red motor scooter"
    assert text[phrase.span[0] : phrase.span[1]] == phrase.text
    assert phrase.label == "motor scooter"
    assert phrase.box_xyxy == scooter.box_xyxy
    assert phrase.parent_id == "caption-id"
    assert phrase.score == pytest.approx(0.6 * SAME)


def test_each_of_the_three_captions_is_grounded(phrase_match: PhraseMatch) -> None:
    tasks = ("caption", "detailed_caption", "more_detailed_caption")
    captions = [caption("There is a cat on the sofa.", task) for task in tasks]
    [phrases] = phrase_match.predict([sample(*captions, box("cat"))])
    assert [phrase.parent_id for phrase in phrases] == [f"{task}-id" for task in tasks]


@pytest.mark.parametrize(
    ("phrase", "label", "strength"),
    [
        ("A red motor scooter", "motor scooter", SAME),
        ("A motor scooter", "scooter", KIND_OF),
        ("An old scooter", "motor scooter", MORE_GENERAL),
        ("A mouse", "computer mouse", MORE_GENERAL),
        ("An orange cat", "cat", SAME),
    ],
)
def test_the_score_is_the_regions_times_the_strength_of_the_match(
    phrase_match: PhraseMatch, phrase: str, label: str, strength: float
) -> None:
    text = f"{phrase} is in the garden."
    [[match]] = phrase_match.predict([sample(caption(text), box(label, 0.5))])
    assert match.text == phrase
    assert match.score == pytest.approx(0.5 * strength)


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("A hot dog is on the table.", "dog"),
        ("A dog is on the table.", "hot dog"),
        ("A wooden dog house stands in the garden.", "dog"),
        ("A motor scooter is in the street.", "push scooter"),
        ("Two sea lions are on the beach.", "lion"),
        ("The picture shows a boat.", "lifeboat"),
        ("The place is dog-friendly.", "dog"),
        ("The lake is man-made.", "man"),
    ],
)
def test_words_in_common_are_not_enough(phrase_match: PhraseMatch, text: str, label: str) -> None:
    assert grounded(phrase_match, caption(text), box(label)) == []


def test_a_phrase_of_one_thing_gets_the_box_of_the_source(phrase_match: PhraseMatch) -> None:
    human = replace(box("cat", None, left=40), specialist=SOURCE)
    text = "A cat is on the sofa."
    assert marked(phrase_match, text, box("cat", 0.9), human) == ["A cat 0 1"]


def test_a_hot_dog_is_a_hot_dog(phrase_match: PhraseMatch) -> None:
    annotations = (caption("A hot dog is on the table."), box("hot dog"), box("dog", 0.9))
    assert grounded(phrase_match, *annotations) == [("A hot dog", "hot dog")]


def test_an_exact_name_wins_over_a_general_one(phrase_match: PhraseMatch) -> None:
    annotations = (
        caption("A tabby cat is on the sofa."),
        box("cat", 0.9),
        box("tabby cat", 0.3),
        box("Siamese cat", 0.8),
    )
    assert grounded(phrase_match, *annotations) == [("A tabby cat", "tabby cat")]


def test_number_decides_how_many_boxes_a_phrase_gets(phrase_match: PhraseMatch) -> None:
    wolves = [box("wolf", score, left=10 * score) for score in (0.3, 0.9, 0.6)]

    def scores(text: str) -> list[float | None]:
        [phrases] = phrase_match.predict([sample(caption(text), *wolves)])
        return [phrase.score for phrase in phrases]

    assert scores("A wolf stands in the snow.") == [0.9]
    assert scores("Two wolves stand in the snow.") == [0.9, 0.6]
    assert scores("Some wolves stand in the snow.") == [0.9, 0.6, 0.3]
    assert scores("No wolves stand in the snow.") == []


def test_a_label_that_the_parser_takes_for_a_verb_is_grounded(phrase_match: PhraseMatch) -> None:
    text = "A large red moped in the centre."
    assert grounded(phrase_match, caption(text), box("moped")) == [("A large red moped", "moped")]


def test_quoted_text_gets_its_line_and_its_words_no_box(phrase_match: PhraseMatch) -> None:
    text = 'The text "a black cat" is written beside a dog.'
    annotations = (caption(text), line("a  black cat"), line("dog"), box("cat"), box("dog"))
    assert grounded(phrase_match, *annotations) == [("a black cat", "text"), ("a dog", "dog")]
    [[quote, _]] = phrase_match.predict([sample(*annotations)])
    assert text[quote.span[0] : quote.span[1]] == "a black cat"
    assert quote.score == pytest.approx(0.9)


SIGNS = (line("STOP"), line("STOP", left=50, top=90))
TWO_TEXTS = 'The text "STOP" is written at the {}. The text "STOP" is written at the {}.'


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (TWO_TEXTS.format("top left", "bottom right"), ["STOP 0 0", "STOP 1 1"]),
        (TWO_TEXTS.format("bottom right", "top left"), ["STOP 0 1", "STOP 1 0"]),
        ('The text "STOP" is written at the top left.', ["STOP 0 0"]),
        ('At the bottom right there is a "STOP".', ["STOP 0 1"]),
        ('The text reads "STOP" and "STOP".', ["STOP 0 0", "STOP 1 1"]),
        ('The text reads "STOP".', []),
        ('The text reads "STOP", "STOP" and "STOP".', []),
        ('The text reads "Stop" and "STOPS".', []),
        (TWO_TEXTS.format("top", "top left"), []),
    ],
)
def test_words_that_are_quoted_twice_get_a_line_each_or_none(
    phrase_match: PhraseMatch, text: str, wanted: list[str]
) -> None:
    assert marked(phrase_match, text, *SIGNS) == wanted


def test_a_line_that_two_have_read_is_one_line(phrase_match: PhraseMatch) -> None:
    again = replace(line("STOP", left=1), score=0.5)
    assert marked(phrase_match, 'It reads "STOP".', line("STOP"), again) == ["STOP 0 0"]


def test_one_line_is_not_that_of_two_quotations(phrase_match: PhraseMatch) -> None:
    assert marked(phrase_match, 'It reads "STOP" and "STOP".', line("STOP")) == []
    text = TWO_TEXTS.format("top left", "bottom right")
    assert marked(phrase_match, text, line("STOP")) == ["STOP 0 0"]


DOGS = (box("dog", 0.9), box("dog", 0.5, left=90))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("A dog sits beside a dog.", []),
        ("A dog sits beside another dog.", []),
        ("A black dog lies beside a white dog.", []),
        ("A dog sits to the left of a cup.", []),
        ("A dog sits on a mat. The dog is at the top right.", ["A dog 0 1", "The dog 0 1"]),
        ("A dog at the top right and a dog at the top left.", ["A dog 0 1", "a dog 0 0"]),
        ("A dog at the top right. The dog sleeps.", ["A dog 0 1", "The dog 0 1"]),
        ("A dog sits beside a dog. The dog sleeps.", []),
        ("The dog sleeps. The dog is old.", ["The dog 0 0", "The dog 1 0"]),
        (
            "The dog at the top left barks. The dog at the top right sleeps. The dog is old.",
            ["The dog 0 0", "The dog 1 1"],
        ),
        ("Two dogs are old.", ["Two dogs 0 0", "Two dogs 0 1"]),
        ("Two dogs are beside two dogs.", []),
        ("Dogs at the top left and dogs at the top right.", ["Dogs 0 0", "dogs 0 1"]),
        ("Two dogs are here. The dogs are old.", [*["Two dogs 0 0", "Two dogs 0 1"],
                                               *["The dogs 0 0", "The dogs 0 1"]]),
    ],
)  # fmt: skip
def test_what_is_mentioned_twice_gets_a_region_each_or_none(
    phrase_match: PhraseMatch, text: str, wanted: list[str]
) -> None:
    assert marked(phrase_match, text, *DOGS) == wanted


def test_two_signs_of_one_word_are_grounded_each_on_its_own(
    phrase_match: PhraseMatch, rapidocr: RapidOcr, template_caption: TemplateCaption,
    drawing: SampleOf,
) -> None:  # fmt: skip
    picture = Image.new("RGB", (400, 300), "white")
    for corner in ((30, 30), (250, 220)):
        ImageDraw.Draw(picture).text(corner, "STOP", "black", font=ImageFont.load_default(40))
    pixels = np.asarray(picture)
    [lines] = rapidocr.predict([drawing(pixels)])
    [captions] = template_caption.predict([drawing(pixels, *lines)])
    seen = drawing(pixels, *lines, *captions)
    [phrases] = phrase_match.predict([seen])
    [text] = [one.text for one in captions if '"' in one.text and "top left" in one.text]
    [phrase] = phrases
    assert text.startswith('The text "STOP" is written at the top left.')
    assert (phrase.text, phrase.span, phrase.box_xyxy) == ("STOP", (10, 14), lines[0].box_xyxy)
    assert lines[0].box_xyxy == pytest.approx((30, 38, 128, 72), abs=10)


def test_a_region_without_a_score_gives_none(phrase_match: PhraseMatch) -> None:
    [[phrase]] = phrase_match.predict([sample(caption("A cat sleeps."), box("cat", None))])
    assert phrase.score is None


def test_captions_in_other_languages_are_left_alone(phrase_match: PhraseMatch) -> None:
    annotations = (caption("Ein Wolf im Schnee", language="de"), box("Wolf"))
    assert grounded(phrase_match, *annotations) == []


def test_odd_texts_and_labels_ground_nothing(phrase_match: PhraseMatch) -> None:
    odd = [caption(text) for text in ("", " ", '"', "²²", "a", "...", '"" ""')]
    regions = [box(label) for label in ("", "-", "  ", "²")]
    assert grounded(phrase_match, *odd, *regions, line(" ")) == []


def test_answers_depend_neither_on_the_batch_nor_on_its_order(phrase_match: PhraseMatch) -> None:
    samples = [
        sample(caption("A cat and two dogs."), box("dog"), box("cat"), box("dog", 0.7)),
        sample(caption("A cat."), box("dog")),
        sample(),
    ]
    together = phrase_match.predict(samples)
    assert [len(phrases) for phrases in together] == [3, 0, 0]
    assert together[::-1] == phrase_match.predict(samples[::-1])
    assert phrase_match.predict([]) == []
