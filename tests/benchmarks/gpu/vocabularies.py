"""Tokenizers of real size for networks with random weights: English where texts are read,
invented words for the rest, each the end of a sentence, so that every answer has one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import count, islice, product
from typing import Any

from tests.benchmarks.gpu.stages import CAPTION

_SYLLABLES = tuple("".join(pair) for pair in product("bdfgklmnprstvz", "aeiou"))
PROMPT = "a photo of"
"""How a caption of a crop begins."""
_ENGLISH = tuple(dict.fromkeys(re.findall(r"\w+", f"{CAPTION} {PROMPT}".lower())))
_BERT_MARKS = {
    **{"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, "[MASK]": 103},
    **{",": 1010, "-": 1011, ".": 1012, "?": 1029},
}
"""The ids that BLIP and Grounding DINO expect."""
_BART_MARKS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
_CHAT_MARKS = (
    *("<|im_start|>", "<end_of_utterance>", "<pad>", "<image>", "<unk>"),
    *("<fake_token_around_image>", "<global-img>"),
    *(f"<row_{row}_col_{column}>" for row, column in product(range(1, 7), repeat=2)),
)
_CHAT = (
    "<|im_start|>{% for message in messages %}{{ message.role }}:"
    "{% for part in message.content %}{% if part.type == 'image' %}<image>"
    "{% else %} {{ part.text }}{% endif %}{% endfor %}<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


def invented() -> Iterator[str]:
    """Yield words that no language has, without end."""
    for syllables in count(2):
        for word in product(_SYLLABLES, repeat=syllables):
            yield "".join(word)


def bert(entries: int) -> Any:
    """Return a BERT tokenizer of so many entries."""
    from transformers import BertTokenizer

    taken = set(_BERT_MARKS.values())
    places = (number for number in range(entries) if number not in taken)
    vocab = {word: next(places) for word in _ENGLISH}
    vocab |= {f"{word}.": number for word, number in zip(invented(), places, strict=False)}
    return BertTokenizer(vocab=_BERT_MARKS | vocab)


def roberta(entries: int) -> Any:
    """Return a RoBERTa tokenizer of so many entries, which can only be decoded from."""
    from transformers import RobertaTokenizer

    return RobertaTokenizer(vocab=_numbered(_BART_MARKS, entries), merges=[])


def chat(entries: int) -> Any:
    """Return a tokenizer and a chat template such as SmolVLM's."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = _numbered((*_CHAT_MARKS, *letters), entries)
    bpe = models.BPE(vocab=vocab, merges=[], ignore_merges=True, unk_token="<unk>")
    tokenizer = Tokenizer(bpe)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(mark, special=True) for mark in _CHAT_MARKS])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|im_start|>",
        eos_token="<end_of_utterance>",
        pad_token="<pad>",
        unk_token="<unk>",
        padding_side="left",
        extra_special_tokens={"image_token": "<image>"},
        chat_template=_CHAT,
    )


def clip(entries: int, *, longest: int) -> Any:
    """Return a CLIP tokenizer that reads letters; the marks have the last ids, as in CLIP."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    letters = sorted(ByteLevel.alphabet())
    start = (*letters, *(f"{letter}</w>" for letter in letters))
    vocab = _numbered(start, entries - 2)
    vocab |= {"<|startoftext|>": entries - 2, "<|endoftext|>": entries - 1}
    return CLIPTokenizer(vocab=vocab, merges=[], model_max_length=longest)


def _numbered(first: Iterable[str], entries: int) -> dict[str, int]:
    """Number some tokens and, after them, invented words that begin with a space."""
    words = [*first]
    words += [f"Ġ{word}." for word in islice(invented(), entries - len(words))]
    return {word: number for number, word in enumerate(words)}
