"""Languages by their BCP 47 tags: English name, ISO 639-3 code and script.

The codes are those by which translation models name languages (FLORES-200 and ISO 639-3); the name
is for prompts. A script in the tag (`zh-Hant`, `sr-Latn`) stands above that of the table. Knows no
model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from florilegium.engine.core.errors import ConfigError, nearest

_TABLE = """\
af afr Latn Afrikaans
am amh Ethi Amharic
ar arb Arab Arabic
as asm Beng Assamese
az azj Latn Azerbaijani
be bel Cyrl Belarusian
bg bul Cyrl Bulgarian
bn ben Beng Bengali
bs bos Latn Bosnian
ca cat Latn Catalan
ckb ckb Arab Central Kurdish
cs ces Latn Czech
cy cym Latn Welsh
da dan Latn Danish
de deu Latn German
el ell Grek Greek
en eng Latn English
eo epo Latn Esperanto
es spa Latn Spanish
et est Latn Estonian
eu eus Latn Basque
fa pes Arab Persian
fi fin Latn Finnish
fil tgl Latn Filipino
fr fra Latn French
ga gle Latn Irish
gl glg Latn Galician
gu guj Gujr Gujarati
ha hau Latn Hausa
he heb Hebr Hebrew
hi hin Deva Hindi
hr hrv Latn Croatian
ht hat Latn Haitian Creole
hu hun Latn Hungarian
hy hye Armn Armenian
id ind Latn Indonesian
ig ibo Latn Igbo
is isl Latn Icelandic
it ita Latn Italian
ja jpn Jpan Japanese
jv jav Latn Javanese
ka kat Geor Georgian
kk kaz Cyrl Kazakh
km khm Khmr Khmer
kn kan Knda Kannada
ko kor Hang Korean
ky kir Cyrl Kyrgyz
la lat Latn Latin
lb ltz Latn Luxembourgish
lo lao Laoo Lao
lt lit Latn Lithuanian
lv lvs Latn Latvian
mg plt Latn Malagasy
mi mri Latn Maori
mk mkd Cyrl Macedonian
ml mal Mlym Malayalam
mn khk Cyrl Mongolian
mr mar Deva Marathi
ms zsm Latn Malay
mt mlt Latn Maltese
my mya Mymr Burmese
nb nob Latn Norwegian
ne npi Deva Nepali
nl nld Latn Dutch
nn nno Latn Norwegian Nynorsk
no nob Latn Norwegian
or ory Orya Odia
pa pan Guru Punjabi
pl pol Latn Polish
ps pbt Arab Pashto
pt por Latn Portuguese
ro ron Latn Romanian
ru rus Cyrl Russian
sd snd Arab Sindhi
si sin Sinh Sinhala
sk slk Latn Slovak
sl slv Latn Slovenian
so som Latn Somali
sq als Latn Albanian
sr srp Cyrl Serbian
su sun Latn Sundanese
sv swe Latn Swedish
sw swh Latn Swahili
ta tam Taml Tamil
te tel Telu Telugu
tg tgk Cyrl Tajik
th tha Thai Thai
ti tir Ethi Tigrinya
tr tur Latn Turkish
uk ukr Cyrl Ukrainian
ur urd Arab Urdu
uz uzn Latn Uzbek
vi vie Latn Vietnamese
xh xho Latn Xhosa
yi ydd Hebr Yiddish
yo yor Latn Yoruba
yue yue Hant Cantonese
zh zho Hans Chinese
zu zul Latn Zulu
"""
_SCRIPTS = ("Hans", "Hant", "Latn", "Cyrl", "Arab")
"""Scripts that a tag may name where its language has another one in the table."""
_NAMED_SCRIPTS = {
    "Hans": "Simplified {}",
    "Hant": "Traditional {}",
    "Latn": "{} in Latin script",
    "Cyrl": "{} in Cyrillic script",
    "Arab": "{} in Arabic script",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Language:
    """A language as it is written: `tag` is BCP 47 as given, `code` its first part, `iso` ISO
    639-3, `script` ISO 15924, `name` that in English."""

    tag: str
    code: str
    iso: str
    script: str
    name: str


def language_of(tag: str) -> Language:
    """Return the language of a BCP 47 tag.

    Raises:
        ConfigError: it is not in the table, or its script is none that is known of it.
    """
    code, rest = code_of(tag), tag.replace("_", "-").split("-")[1:]
    row = _rows().get(code)
    if row is None:
        raise ConfigError(
            f"the language {tag!r} is not known, {nearest(code, tuple(_rows()))}; it is "
            f"written as BCP 47: `de`, `pt-BR`, `zh-Hant`"
        )
    iso, own, name = row
    script = next((one.title() for one in rest if len(one) == 4 and one.isalpha()), own)
    if script not in (own, *_SCRIPTS):
        raise ConfigError(
            f"the script of {tag!r} is not known, leave it out ({', '.join((own, *_SCRIPTS))} are)"
        )
    if script != own:
        name = _NAMED_SCRIPTS[script].format(name)
    return Language(tag=tag, code=code, iso=iso, script=script, name=name)


def answer_in(prompt: str, tag: str) -> str:
    """Return an English prompt that asks for an answer in a language.

    Raises:
        ConfigError: the language is not known.
    """
    return f"{prompt} Answer in {language_of(tag).name}."


def known_language(tag: str) -> str:
    """Return a tag whose language is known.

    Raises:
        ValueError: it is not.
    """
    try:
        language_of(tag)
    except ConfigError as error:
        raise ValueError(str(error)) from error
    return tag


def check_other_languages(own: str, others: Mapping[str, bool]) -> None:
    """Check that each further language of prompts is asked for once.

    Args:
        own: the language of the prompts, "" if unknown.
        others: for each known tag, whether all its prompts are its own. Without, it is asked for by
            its name, which regions share: `en-US` beside `en`, `pt-BR` beside `pt`.

    Raises:
        ValueError: one is asked for already.
    """
    asked = {_name_of(own): own}
    for tag, is_own in others.items():
        before = tag if tag == own else asked.get(_name_of(tag), "")
        if before and (tag == own or not is_own):
            known = "the language of `prompts`" if before == own else f"asked for as {before!r}"
            raise ValueError(
                f"{tag!r} is {known} already: leave it out, or give a region prompts of its own"
            )
        asked.setdefault(_name_of(tag), tag)


def _name_of(tag: str) -> str:
    """Return the English name of a language; of one that is not known, the tag."""
    return language_of(tag).name if code_of(tag) in _rows() else tag


def same_language(one: str, other: str) -> bool:
    """Return whether two tags have one language, whatever region they name."""
    return code_of(one) == code_of(other)


def code_of(tag: str) -> str:
    """Return the language of a tag without script and region, in lower case."""
    return tag.replace("_", "-").partition("-")[0].lower()


@cache
def _rows() -> dict[str, tuple[str, str, str]]:
    rows = (line.split(maxsplit=3) for line in _TABLE.splitlines())
    return {code: (iso, script, name) for code, iso, script, name in rows}
