"""Captions in twelve scripts: one sentence of our own in each, and what is wrong with others.

The sentences say the same: a brown dog runs over wet grass, and two children watch it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.errors import ConfigError
from florilegium.engine.core.sample import Picture, Sample
from florilegium.engine.execution.preparation import prepare, remarks_of
from florilegium.engine.planning.config import validated
from florilegium.engine.planning.fingerprint import configuration_of
from florilegium.pipelines.commands.dry_run import dry_run_lines
from florilegium.pipelines.filters import any_language
from florilegium.pipelines.filters.text_filter import TextFilter, TextFilterConfig
from tests.building import DESCRIBED, configure
from tests.pipelines.filters.captions import read_captions
from tests.pipelines.filters.statements import caption, reasons, statements

KEEP = ""
LINES = Path(__file__).with_name("languages.tsv").read_text("utf-8").splitlines()[1:]
SENTENCES = dict(line.split("\t") for line in LINES)
ENGLISH = "A brown dog runs over the wet grass, and two children watch it from the side."
UNSPACED = ("th", "zh", "ja")


@pytest.fixture(scope="module")
def loaded() -> TextFilter:
    text_filter = TextFilter(TextFilterConfig(languages=("en", *SENTENCES)))
    text_filter.load()
    return text_filter


def verdicts(
    text_filter: TextFilter, *captions: Annotation, ocr: str = "", **limits: Any
) -> list[str]:
    """Return the reason of the drop of each caption, or ""."""
    line = Annotation(kind="region", task="ocr", text=ocr, id="ocr")
    sample = Sample(key="a", width=1, height=1, picture=Picture(b""), annotations=(*captions, line))
    [measured] = text_filter.measure([sample])
    numbers = {
        name: [one.values.get(name, np.nan) for one in measured] for name in text_filter.measured
    }
    config = text_filter.config.model_dump() | {"language_limits": limits}
    judge = TextFilter(TextFilterConfig.model_validate(config))
    return reasons(judge.judge(statements(captions, measurements=numbers)))


def captions(*texts: str, language: str = "") -> list[Annotation]:
    return [caption(text, id=f"a{row}", language=language) for row, text in enumerate(texts)]


def test_a_sentence_in_each_of_twelve_scripts_is_kept(loaded: TextFilter) -> None:
    assert len(SENTENCES) == 12
    declared = [caption(text, id=code, language=code) for code, text in SENTENCES.items()]
    assert verdicts(loaded, *declared) == [KEEP] * 12
    assert verdicts(loaded, *captions(*SENTENCES.values(), ENGLISH)) == [KEEP] * 13


def test_a_sentence_that_declares_another_language_is_of_the_wrong_one(loaded: TextFilter) -> None:
    codes = list(SENTENCES)
    shifted = [
        caption(SENTENCES[code], id=code, language=other)
        for code, other in zip(codes, [*codes[1:], codes[0]], strict=True)
    ]
    found = verdicts(loaded, *shifted)
    assert found == [*["wrong_script"] * 10, "wrong_language", "wrong_script"]
    assert verdicts(loaded, *captions("Un chien brun court sur l'herbe mouillée.", language="de"),
                    caption(ENGLISH, id="b", language="de")) == ["wrong_language"] * 2  # fmt: skip


def test_a_language_that_is_not_wanted_is_wrong_whether_declared_or_not() -> None:
    german = TextFilter(TextFilterConfig(languages=("de",)))
    german.load()
    foreign = [SENTENCES["ru"], ENGLISH, "Un perro marrón corre por la hierba mojada y la playa."]
    assert verdicts(german, *captions(*foreign)) == ["wrong_script", *["wrong_language"] * 2]
    declared = [caption(ENGLISH, id="a", language="en"), caption(SENTENCES["ru"], language="ru")]
    assert verdicts(german, *declared) == ["wrong_script"] * 2
    assert verdicts(german, *captions(SENTENCES["de"])) == [KEEP]


def test_english_captions_have_the_verdicts_that_they_have_without_other_languages(
    loaded: TextFilter,
) -> None:
    alone = TextFilter(TextFilterConfig())
    alone.load()
    texts = [one.text for one in read_captions()][::4]
    declared = captions(*texts, language="en")
    sample = Sample(key="a", width=1, height=1, picture=Picture(b""), annotations=tuple(declared))
    (before,), (after,) = alone.measure([sample]), loaded.measure([sample])
    for one, other in zip(before, after, strict=True):
        assert one.values.keys() == other.values.keys()
        np.testing.assert_array_equal(list(one.values.values()), list(other.values.values()))
    found = verdicts(loaded, *declared)
    numbers = {name: [one.values.get(name, np.nan) for one in before] for name in alone.measured}
    assert found == reasons(alone.judge(statements(declared, measurements=numbers)))
    assert KEEP in found
    assert len(set(found)) > 4


@pytest.mark.parametrize("code", SENTENCES)
def test_length_and_repetition_are_judged_in_each_script(loaded: TextFilter, code: str) -> None:
    text = SENTENCES[code]
    first, between = text.split()[0], "" if code in UNSPACED else " "
    short = text[:1] if code in UNSPACED else first
    again = (between if code != "th" else " ").join([text] * 2)
    loop = between.join([text[:4] if code in UNSPACED else first] * 9)
    long = between.join(f"{text[:-1]}{number}" for number in range(20))
    found = verdicts(loaded, *captions(short, again, loop, long, language=code))
    assert found[0] in ("too_short", "wrong_language")
    assert found[1:3] == ["repeated_clauses"] * 2
    assert found[3] in ("too_long", "repeated_clauses")


@pytest.mark.parametrize("code", sorted(set(SENTENCES) - set(UNSPACED)))
def test_a_caption_that_only_repeats_text_in_the_image_is_dropped(
    loaded: TextFilter, code: str
) -> None:
    (one,) = captions(SENTENCES[code], language=code)
    assert verdicts(loaded, one, ocr=SENTENCES[code].upper()) == ["ocr_overlap"]
    assert verdicts(loaded, one, ocr=SENTENCES[code].split()[0]) == [KEEP]


def test_limits_of_language_and_script_can_be_moved(loaded: TextFilter) -> None:
    french = captions("Un chien brun court sur l'herbe mouillée du jardin.", language="de")
    mixed = captions("犬が走る dog dog dog runs here", language="ja")
    assert verdicts(loaded, *french, *mixed) == ["wrong_language", "wrong_script"]
    assert verdicts(
        loaded, *french, *mixed, min_language=None, min_language_brief=None, min_script=0.1
    ) == [KEEP, KEEP]


def test_what_is_not_measured_is_stated_and_only_then() -> None:
    assert TextFilter(TextFilterConfig()).omissions() == []
    assert TextFilter(TextFilterConfig(languages=("en",))).omissions() == []
    stated = TextFilter(TextFilterConfig(languages=("en", "de", "th", "yi"))).omissions()
    assert [line.partition(":")[0] for line in stated] == [
        "objects and complexity are not measured in de, th, yi",
        "the language is not identified in yi",
        "refusals are not known in de, th, yi",
        "words are letters in th",
    ]


def test_a_dry_run_and_the_manifest_state_what_is_not_measured(album: Path, tmp_path: Path) -> None:
    filters = {"text_filter": {"languages": ["en", "th"]}}
    run = prepare(configure(album, tmp_path / "out", specialists=DESCRIBED, filters=filters))
    stated = "text_filter: refusals are not known in th"
    assert stated in remarks_of(run)
    assert stated in list(dry_run_lines(run))
    assert remarks_of(prepare(configure(album, tmp_path / "out"))) == []


@pytest.fixture
def _german_parser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a pipeline that takes every word for a noun that depends on the first."""
    package = tmp_path / "de_core_news_sm"
    package.mkdir()
    (package / "__init__.py").write_text(
        "import spacy\n"
        "from spacy.language import Language\n"
        "@Language.component('all_nouns')\n"
        "def all_nouns(doc):\n"
        "    for token in doc:\n"
        "        token.pos_, token.dep_, token.head = 'NOUN', 'dep', doc[0]\n"
        "        token.lemma_ = token.text\n"
        "    return doc\n"
        "def load(**options):\n"
        "    nlp = spacy.blank('de')\n"
        "    nlp.add_pipe('all_nouns')\n"
        "    return nlp\n"
    )
    info = tmp_path / "de_core_news_sm-3.8.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: de_core_news_sm\nVersion: 3.8.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("de_core_news_sm", None)


@pytest.mark.usefixtures("_german_parser")
def test_syntax_is_measured_where_spacy_has_a_pipeline_and_judged_where_that_is_wanted() -> None:
    german = TextFilter(TextFilterConfig(languages=("de", "ru")))
    assert "de_core_news_sm 3.8.0" in german.revision()
    assert german.omissions()[0].startswith("objects and complexity are not measured in ru:")
    german.load()
    (one,) = captions("Hund Katze Maus Haus Baum Tisch Stuhl Bett Wand Auto", language="de")
    sample = Sample(key="a", width=1, height=1, picture=Picture(b""), annotations=(one,))
    [[measured]] = german.measure([sample])
    assert (measured.values["objects"], measured.values["words"]) == (10, 10)
    assert verdicts(german, one, min_language=None) == [KEEP]
    assert verdicts(german, one, min_language=None, syntax=["de"]) == ["too_many_objects"]
    assert verdicts(german, one, min_language=None, syntax=["ru"]) == [KEEP]


def test_the_identifier_is_of_the_languages_that_are_asked_for() -> None:
    captions_in = any_language.LanguageCaptions(("nb", "ckb", "yi"))
    assert {"no", "ku", "en"} <= set(captions_in._identifier.labels)
    assert captions_in.code("no", "") == ""
    assert captions_in.code("nb-NO", "") == "nb"


def test_a_filter_that_names_no_languages_is_stored_as_it_always_was() -> None:
    def stored(**options: Any) -> dict[str, Any]:
        stage = TextFilter(TextFilterConfig(**options))
        return configuration_of("text_filter", "text_filter", stage, stage.revision(), ())

    before = stored()
    assert set(before["config"]) == {"round", "tasks"}
    assert before["thresholds"] == ["tasks"]
    assert set(stored(languages=("de",))["config"]) == {"languages", "round", "tasks"}
    limited = stored(language_limits={"min_script": 0.1})
    assert limited["thresholds"] == ["language_limits", "tasks"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"languages": ["xx"]}, "the language 'xx' is not known"),
        ({"languages": ["pt-BR", "pt"]}, "the language 'pt' occurs twice"),
    ],
)
def test_languages_that_cannot_be_judged_are_refused(options: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        validated(TextFilterConfig, options, where="test")
