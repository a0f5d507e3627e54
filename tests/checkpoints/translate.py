"""Tiny translation models of each family, untrained, with real tokenizers: NLLB, M2M-100, OPUS-MT
for one pair and for several, MADLAD-400."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

WORDS = (
    *("a", "the", "two", "red", "green", "small", "dog", "cat", "house", "tree", "runs", "sleeps"),
    *("on", "near", "grass", "wall", "Hund", "Katze", "rot", "das", "der", "ein", "Haus", "Baum"),
)
_SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
_SIZES = {"encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
          "decoder_attention_heads": 2, "d_model": 16, "encoder_ffn_dim": 16,
          "decoder_ffn_dim": 16, "max_position_embeddings": 64}  # fmt: skip


def options(folder: Path) -> dict[str, Any]:
    """Return the options of `translate`."""
    return {"model": str(write("nllb", folder)), "to": ["de", "th"], "undeclared": "en",
            "max_new_tokens": 24}  # fmt: skip


def write(name: str, folder: Path, seed: int = 0) -> Path:
    """Write a model and its tokenizer."""
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _TOKENIZERS[name](folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        # The languages of M2M-100 have numbers behind its vocabulary.
        languages = getattr(tokenizer, "lang_token_to_id", {})
        model = _MODELS[name.partition(" ")[0]](len(tokenizer) + len(languages))
        for weight in model.parameters():
            if weight.ndim > 1 and weight.requires_grad:
                torch.nn.init.normal_(weight, std=0.5)
    ends = [tokenizer.eos_token_id, *range(5, 40, 3)]  # or it would babble for ever
    silent = [name for name in languages if name != "__de__"]
    special = [tokenizer.convert_tokens_to_ids(one) for one in (*_SPECIAL, "<mask>", *silent)]
    model.generation_config.update(
        num_beams=4, max_length=64, min_new_tokens=4, no_repeat_ngram_size=2, eos_token_id=ends,
        suppress_tokens=[one for one in special if one not in (None, tokenizer.eos_token_id)],
    )  # fmt: skip
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@cache
def _spm() -> bytes:
    """A sentencepiece model of the words and their letters."""
    import sentencepiece

    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(WORDS), ". ! ?"] * 4), model_writer=written,
        vocab_size=60, model_type="unigram", hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    return written.getvalue()


@cache
def _pieces() -> tuple[str, ...]:
    import sentencepiece

    processor = sentencepiece.SentencePieceProcessor(model_proto=_spm())
    pieces = map(processor.id_to_piece, range(processor.get_piece_size()))
    return tuple(piece for piece in pieces if piece not in _SPECIAL)


def _written(folder: Path, *names: str, tokens: tuple[str, ...] = ()) -> dict[str, Path]:
    """Write sentencepiece models of these names, and the vocabulary."""
    vocabulary = {one: number for number, one in enumerate((*_SPECIAL, *_pieces(), *tokens))}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    for name in names:
        (folder / name).write_bytes(_spm())
    return {name: folder / name for name in (*names, "vocab.json")}


def _nllb(folder: Path) -> Any:
    from transformers import NllbTokenizer

    vocabulary = {one: number for number, one in enumerate((*_SPECIAL, *_pieces()))}
    languages = ["eng_Latn", "deu_Latn", "tha_Thai", "zho_Hant"]
    return NllbTokenizer(vocab=vocabulary, merges=[], extra_special_tokens=languages)


def _m2m100(folder: Path) -> Any:
    from transformers import M2M100Tokenizer

    files = _written(folder, "sentencepiece.bpe.model")
    return M2M100Tokenizer(str(files["vocab.json"]), str(files["sentencepiece.bpe.model"]))


def _marian(folder: Path, *tokens: str, **languages: str) -> Any:
    from transformers import MarianTokenizer

    files = _written(folder, "source.spm", "target.spm", tokens=tokens)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return MarianTokenizer(
            *(str(files[name]) for name in ("source.spm", "target.spm", "vocab.json")), **languages
        )


def _madlad(folder: Path) -> Any:
    from transformers import T5Tokenizer

    tokens = ("<pad>", "</s>", "<unk>", "<2de>", "<2en>", *_pieces())
    vocabulary = [(one, -1.0 - number / 100) for number, one in enumerate(tokens)]
    return T5Tokenizer(vocab=vocabulary, extra_ids=0, additional_special_tokens=["<2de>", "<2en>"])


def _of_m2m100(size: int) -> Any:
    from transformers import AutoModelForSeq2SeqLM, M2M100Config

    config = M2M100Config(vocab_size=size, pad_token_id=1, eos_token_id=2, bos_token_id=0,
                          decoder_start_token_id=2, **_SIZES)  # fmt: skip
    return AutoModelForSeq2SeqLM.from_config(config)


def _of_marian(size: int) -> Any:
    from transformers import AutoModelForSeq2SeqLM, MarianConfig

    config = MarianConfig(vocab_size=size, pad_token_id=1, eos_token_id=2, bos_token_id=0,
                          decoder_start_token_id=1, forced_eos_token_id=2, **_SIZES)  # fmt: skip
    return AutoModelForSeq2SeqLM.from_config(config)


def _of_madlad(size: int) -> Any:
    from transformers import AutoModelForSeq2SeqLM, T5Config

    config = T5Config(vocab_size=size, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2,
                      pad_token_id=0, eos_token_id=1, decoder_start_token_id=0)  # fmt: skip
    return AutoModelForSeq2SeqLM.from_config(config)


_TOKENIZERS: dict[str, Callable[[Path], Any]] = {
    "nllb": _nllb,
    "m2m100": _m2m100,
    "marian pair": lambda folder: _marian(folder, source_lang="eng", target_lang="deu"),
    "marian many": lambda folder: _marian(folder, ">>deu<<", ">>fra<<", target_lang="mul"),
    "madlad": _madlad,
}
_MODELS: dict[str, Callable[[int], Any]] = {
    "nllb": _of_m2m100,
    "m2m100": _of_m2m100,
    "marian": _of_marian,
    "madlad": _of_madlad,
}
FAMILIES = tuple(_TOKENIZERS)
