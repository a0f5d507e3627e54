from __future__ import annotations

import pytest

from florilegium.specialists.words.refusals import count_refusals, opens_with_refusal


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I cannot describe this image.",
        "I\N{RIGHT SINGLE QUOTATION MARK}m sorry, I can\N{RIGHT SINGLE QUOTATION MARK}t assist.",
        "i am sorry but i can't help with that",
        "I'm very sorry, but there is no image attached.",
        "Sorry, I can't help with that.",
        "I apologize, but I am unable to see it.",
        "My apologies, but I cannot describe that.",
        "As an AI language model, I have no eyes.",
        "As an AI assistant, I cannot view images directly.",
        "I'm just an AI and cannot see pictures.",
        "I cannot identify people in this image.",
        "I can not view this image.",
        "I could not process the image.",
        "I am currently unable to view the file.",
        "I'm not able to identify real people.",
        "I do not have the ability to see images.",
        "I don't see any image attached.",
        "I have no way to see the image.",
        "I cannot make out what it is.",
        "I don't feel comfortable describing this image.",
        "My guidelines do not allow me to describe people.",
        "I must decline to describe this picture.",
        "Unfortunately, I cannot view the photo you shared.",
        "I'm afraid I can't do that.",
        "It is not possible for me to describe the image.",
        "Unable to describe the image.",
        "No image was provided.",
        "No photo has been attached.",
        "I apologize, but no image was provided.",
        "Sorry, no picture attached.",
        "As a text-based assistant I don't have access to the photo.",
        "As an AI I cannot see pictures.",
        "Please provide the image.",
        "Caption: I'm sorry, but I cannot help.",
        "\"I'm sorry, but I can't help with that.\"",
    ],
)
def test_a_refusal_stands_at_the_start_in_the_first_person(text):
    assert opens_with_refusal(text)
    assert count_refusals(text) == 1


@pytest.mark.parametrize(
    "text",
    [
        "A man dressed as an AI robot stands on a stage.",
        "As an AI robot waves, children laugh.",
        "An AI-generated landscape",
        "A sign says 'Sorry, we are closed'",
        "Sorry, a board game, lies on a table.",
        "The sorry state of a barn",
        "A woman holding a sign that reads I can't breathe",
        "A meme in which a dog says I cannot help you",
        "'Sorry, I can't help you' reads a note on a door.",
        "A placard reads I'm sorry, I cannot see the future",
        "I can't believe how small this kitten is",
        "I can't help but smile at this puppy",
        "I can't see the forest for the trees",
        "I couldn't do this without my team",
        "I can't tell you how good this cake is",
        "I can't read this menu without my glasses",
        "I'm sorry for the mess in the kitchen",
        "I'm sorry but this is the cutest dog ever",
        "I can't stop looking at this sunset",
        "I am unable to resist chocolate cake",
        "I'm sorry cards stand on a shelf",
        "A woman apologizes. A man is unable to see.",
        "Two people who cannot see the stage",
        "Please do not feed the ducks, says a sign.",
        "I see a dog and a ball.",
        "No photo of this beach does it justice.",
        "As an AI conference begins I can't see an empty seat.",
        "No image on the wall is straight.",
    ],
)
def test_the_same_words_elsewhere_are_none(text):
    assert not opens_with_refusal(text)
    assert count_refusals(text) == 0


def test_every_sentence_of_a_text_may_begin_one():
    text = "The image shows a man. I'm sorry, but I can't name him.\nI cannot view the image."
    assert not opens_with_refusal(text)
    assert count_refusals(text) == 2
