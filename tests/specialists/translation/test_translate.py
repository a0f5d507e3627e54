"""Translations, compared with what `transformers` makes of the same text as its docs call it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.errors import ConfigError, SampleError
from florilegium.engine.core.sample import Picture, Sample
from florilegium.engine.planning.config import validated
from florilegium.specialists.translation import translate as module
from florilegium.specialists.translation.translate import Translate, TranslateConfig
from florilegium.specialists.translation.translator import Text, Translation
from tests.checkpoints import written_once
from tests.checkpoints.translate import FAMILIES, write

TEXT = "a red dog runs on the grass"
OTHER = "two cat sleeps near the wall"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    return written_once(write, tmp_path_factory)


@pytest.fixture(scope="module")
def stage(written: Callable[[str], Path]) -> Callable[..., Translate]:
    """Load a tiny one of a family; with the same options the same one."""

    @cache
    def loaded(family: str = "nllb", **options: Any) -> Translate:
        given = {"to": ("de",), "max_new_tokens": 40, **options}
        given["codes"] = dict(options.get("codes", ()))
        specialist = Translate(TranslateConfig(model=str(written(family)), **given))
        specialist.load()
        return specialist

    return loaded


def caption(text: str, language: str = "en", **fields: Any) -> Annotation:
    given = {"kind": "text", "task": "caption", "text": text, "language": language, **fields}
    return Annotation(**{"id": text[:20], **given})


def sample(*annotations: Annotation) -> Sample:
    return Sample(key="a", width=9, height=9, picture=Picture(b""), annotations=annotations)


def translated_by_transformers(
    family: str, folder: Path, text: str, beams: int = 1
) -> tuple[str, float]:
    """Return the text and the score of a search, called as the model cards say."""
    import torch
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sacremoses is recommended
        tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSeq2SeqLM.from_pretrained(folder)
    model.generation_config.max_length = None
    model.generation_config.forced_eos_token_id = None
    forced: dict[str, int] = {}
    if family == "nllb":
        tokenizer.src_lang = "eng_Latn"
        forced = {"forced_bos_token_id": tokenizer.convert_tokens_to_ids("deu_Latn")}
    elif family == "m2m100":
        tokenizer.src_lang = "en"
        forced = {"forced_bos_token_id": tokenizer.get_lang_id("de")}
    prefix = {"marian many": ">>deu<< ", "madlad": "<2de> "}.get(family, "")
    inputs = tokenizer(prefix + text, return_tensors="pt")
    with torch.no_grad():
        answer = model.generate(
            **inputs, **forced, num_beams=beams, max_new_tokens=40,
            output_scores=True, return_dict_in_generate=True,
        )  # fmt: skip
    (text,) = tokenizer.batch_decode(answer.sequences, skip_special_tokens=True)
    indices = answer.beam_indices if beams > 1 else None
    chances = model.compute_transition_scores(
        answer.sequences, answer.scores, indices, normalize_logits=beams == 1
    )[0]
    text = text.removeprefix("__de__")  # which is no special token to M2M-100's tokenizer
    return " ".join(text.split()), float(chances[bool(forced) :].mean().exp())


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_translates_as_transformers_does(
    family: str, stage: Callable[..., Translate], written: Callable[[str], Path]
) -> None:
    ((found,),) = stage(family).predict([sample(caption(TEXT))])
    text, score = translated_by_transformers(family, written(family), TEXT)
    assert found.text == text
    assert found.score == pytest.approx(score, abs=1e-4)
    assert (found.task, found.language, found.parent_id) == ("caption", "de", TEXT[:20])


@pytest.mark.parametrize("family", ["nllb", "marian many", "madlad"])
def test_several_beams_give_what_transformers_gives(
    family: str, stage: Callable[..., Translate], written: Callable[[str], Path]
) -> None:
    both = [sample(caption(TEXT)), sample(caption(f"{TEXT} tree"))]
    (found, *_), _ = stage(family, beams=3).predict(both)
    text, score = translated_by_transformers(family, written(family), TEXT, beams=3)
    assert found.text == text
    assert found.score == pytest.approx(score, abs=1e-4)


def test_the_language_changes_the_translation(stage: Callable[..., Translate]) -> None:
    (found,) = stage(to=("de", "th")).predict([sample(caption(TEXT), caption(OTHER))])
    assert [(one.language, one.parent_id) for one in found] == [
        (language, text[:20]) for text in (TEXT, OTHER) for language in ("de", "th")
    ]
    assert len({one.text for one in found}) == 4
    assert all(0 < (one.score or 0) < 1 for one in found)


def test_an_answer_does_not_depend_on_what_is_translated_beside_it(
    stage: Callable[..., Translate],
) -> None:
    samples = [sample(caption(f"{TEXT} {word}. {OTHER}.")) for word in ("", "tree", "near a house")]
    together = stage().predict([*samples, sample()])
    assert together == [stage().predict([one])[0] for one in (*samples, sample())]
    assert together[-1] == []


def test_sentences_are_translated_one_by_one_and_joined_as_the_language_writes(
    stage: Callable[..., Translate],
) -> None:
    both = caption(f"{TEXT}. {OTHER}.", id="both")
    single = [caption(f"{TEXT}."), caption(f"{OTHER}.")]
    for language, between in (("de", " "), ("th", "")):
        ((whole,),) = stage(to=(language,)).predict([sample(both)])
        (parts,) = stage(to=(language,)).predict([sample(*single)])
        assert whole.text == between.join(one.text for one in parts)
        scores = [one.score or 0 for one in parts]
        assert min(scores) <= (whole.score or 0) <= max(scores)
    ((at_once,),) = stage(by_sentence=False).predict([sample(both)])
    ((whole,),) = stage().predict([sample(both)])
    assert at_once.text != whole.text


def test_only_texts_in_a_known_source_language_are_translated(
    stage: Callable[..., Translate],
) -> None:
    given = sample(
        caption(TEXT, "en-GB"), caption(OTHER, ""), caption("ein Hund", "de"),
        caption("un chien", "fr"), Annotation(kind="text", task="tag", label="dog", id="t"),
    )  # fmt: skip
    parents = [
        [one.parent_id for one in stage(**options).predict([given])[0]]
        for options in ({}, {"undeclared": "en"}, {"sources": ("de", "en"), "to": ("de", "en")})
    ]
    assert parents == [[TEXT[:20]], [TEXT[:20], OTHER[:20]], [TEXT[:20], "ein Hund"]]


def test_a_region_keeps_its_place(stage: Callable[..., Translate]) -> None:
    region = caption(
        "the small house", kind="region", task="region_description", box_xyxy=(1.0, 2.0, 5.0, 6.0)
    )
    ((found,),) = stage(tasks=("region_description",)).predict([sample(region)])
    assert (found.kind, found.box_xyxy, found.parent_id) == ("region", region.box_xyxy, region.id)


def test_of_a_question_the_answer_is_translated_too(
    stage: Callable[..., Translate], monkeypatch: pytest.MonkeyPatch
) -> None:
    ((text,), (label,)) = (stage().predict([sample(caption(one))])[0] for one in (TEXT, OTHER))
    monkeypatch.setattr(module, "QUESTIONS", ("caption",))
    ((found,),) = stage().predict([sample(caption(TEXT, label=OTHER))])
    assert (found.text, found.label) == (text.text, label.text)
    assert found.score == min(text.score, label.score)
    assert stage().predict([sample(caption(TEXT))]) == [[text]]


def test_what_cannot_be_translated_has_no_translation_beside_what_can(
    stage: Callable[..., Translate],
) -> None:
    too_long = caption("house " * 70, id="long")
    found = stage().predict([sample(too_long, caption(TEXT)), sample(too_long)])
    assert [[one.parent_id for one in own] for own in found] == [[TEXT[:20]], []]
    texts = [Text(one, "en", "de") for one in (too_long.text, TEXT, " ")]
    long, whole, empty = stage().translator.translate(texts)
    (endless,) = stage(max_new_tokens=5).translator.translate([texts[1]])
    assert isinstance(whole, Translation)
    reasons = [one.reason for one in (long, empty, endless) if isinstance(one, SampleError)]
    assert reasons == ["sentence_too_long", "empty_translation", "unfinished_translation"]


@pytest.mark.parametrize(
    ("family", "options", "message"),
    [
        ("nllb", {"to": ("fr",)}, "no token for the language 'fr' .tried fra_Latn, fr, fra"),
        ("nllb", {"to": ("zh-Hans",)}, "no token for the language 'zh-Hans'"),
        ("marian pair", {"to": ("fr",)}, "from 'eng' to 'deu', not from 'en' to 'fr'"),
        ("marian pair", {"sources": ("fr",)}, "from 'eng' to 'deu', not from 'fr'"),
        ("marian many", {"to": ("th",)}, "tried >>tha_Thai<<"),
        ("madlad", {"to": ("th",)}, "tried <2tha_Thai>, <2th>"),
    ],
)
def test_a_language_that_the_model_lacks_is_refused_when_it_is_loaded(
    stage: Callable[..., Translate], family: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        stage(family, **options)


def test_a_script_or_a_code_of_the_model_chooses_the_token(stage: Callable[..., Translate]) -> None:
    given = [sample(caption(TEXT))]
    ((traditional,),) = stage(to=("zh-Hant",)).predict(given)
    own = stage(to=("x-own",), codes=(("x-own", "zho_Hant"),))
    ((coded,),) = own.predict(given)
    assert (traditional.language, coded.language) == ("zh-Hant", "x-own")
    assert coded.text.replace(" ", "") == traditional.text.replace(" ", "")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"to": ["deu"]}, "the language 'deu' is not known, did you mean 'eu'"),
        ({"to": ["en"]}, "there is nothing to translate"),
        ({"to": ["de"], "tasks": ["tag"]}, "'tag' has no sentences to translate"),
        ({"to": ["de"], "undeclared": "xx"}, "the language 'xx' is not known"),
        ({"to": ["de"], "image_size": 32}, "looks at no image"),
    ],
)
def test_options_without_meaning_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        validated(TranslateConfig, options, where="test")


def test_a_stage_without_a_language_is_refused_when_the_run_is_planned() -> None:
    with pytest.raises(ConfigError, match="names no language to translate into"):
        Translate(TranslateConfig()).revision()


def test_a_checkpoint_without_a_tokenizer_or_of_another_kind_is_refused(
    written: Callable[[str], Path], tmp_path: Path
) -> None:
    import shutil

    folder = shutil.copytree(written("madlad"), tmp_path / "madlad")
    (folder / "tokenizer_config.json").unlink()
    with pytest.raises(ConfigError, match=r"no tokenizer_config\.json is in"):
        Translate(TranslateConfig(model=str(folder), to=("de",))).revision()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "bart"}))
    with pytest.raises(ConfigError, match="a translation model is needed"):
        Translate(TranslateConfig(model=str(folder), to=("de",))).revision()


def test_other_sentencepiece_weights_are_another_model(
    written: Callable[[str], Path], tmp_path: Path
) -> None:
    import shutil

    folder = shutil.copytree(written("marian pair"), tmp_path / "marian")
    named = Translate(TranslateConfig(model=str(folder), to=("de",))).revision()
    (folder / "source.spm").write_bytes((folder / "source.spm").read_bytes() + b"\0")
    assert Translate(TranslateConfig(model=str(folder), to=("de",))).revision() != named
