"""Loops by hand over models that speak: captions, region texts, lines of text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from florilegium.specialists.captions.answer_text import cleaned, whole_sentences
from florilegium.specialists.captions.chat_caption import ChatCaptionConfig
from florilegium.specialists.captions.region_text import RegionTextConfig
from florilegium.specialists.florence2.checkpoint import resolve_florence2
from florilegium.specialists.florence2.config import Florence2Config
from florilegium.specialists.florence2.format import FLORENCE2_TASKS, clean
from florilegium.specialists.ocr.trocr import TrOcrConfig
from florilegium.specialists.pretrained.checkpoint import Checkpoint
from florilegium.specialists.regions.window import around
from florilegium.specialists.words.english import load_english
from florilegium.specialists.words.noun_phrases import noun_phrases
from tests.benchmarks.gpu.by_hand import Loop, cut
from tests.benchmarks.gpu.stages import GRID, TEXT_LINES, boxes

GREEDY = {"do_sample": False, "num_beams": 1}


class Florence2Loop(Loop[Florence2Config]):
    """Captions by Florence-2, without the probabilities that the stage computes."""

    def checkpoint(self, stage: Any) -> Checkpoint:
        return resolve_florence2(stage.config.models[0], is_random=bool(stage.config.caveat))

    def annotate(self, images: list[Image.Image]) -> list[list[Any]]:
        answers: list[list[Any]] = [[] for _ in images]
        for task in self.config.tasks:
            for own, text in zip(answers, self._texts(images, task), strict=True):
                if clean(text):
                    own.append({"task": task, "text": text})
        return answers

    def _texts(self, images: list[Image.Image], task: str) -> list[str]:
        marker = FLORENCE2_TASKS[task].marker
        inputs = self.placed(
            self.processor(text=[marker for _ in images], images=images, return_tensors="pt")
        )
        ids = self.model.generate(**inputs, max_new_tokens=self.config.max_new_tokens, **GREEDY)
        texts = self.processor.batch_decode(ids, skip_special_tokens=True)
        return [
            self.processor.post_process_generation(text=text, task=marker, image_size=image.size)[
                marker
            ]
            for text, image in zip(texts, images, strict=True)
        ]


class ChatCaptionLoop(Loop[ChatCaptionConfig]):
    """Captions by a chat model, without the probabilities that the stage computes."""

    def __init__(self, stage: Any) -> None:
        super().__init__(stage)
        self.processor.tokenizer.padding_side = "left"

    def annotate(self, images: list[Image.Image]) -> list[list[Any]]:
        answers: list[list[Any]] = [[] for _ in images]
        for task, _, question in self.config.asked:
            content = [{"type": "image"}, {"type": "text", "text": question.prompt}]
            prompt = self.processor.apply_chat_template(
                [{"role": "user", "content": content}], add_generation_prompt=True
            )
            inputs = self.placed(
                self.processor(
                    images=[[image] for image in images],
                    text=[prompt for _ in images],
                    return_tensors="pt",
                    padding=True,
                    add_special_tokens=False,
                )
            )
            ids = self.model.generate(**inputs, max_new_tokens=question.max_new_tokens, **GREEDY)
            new = ids[:, inputs["input_ids"].shape[1] :]
            for own, text in zip(answers, _sentences(self, new), strict=True):
                if text:
                    own.append({"task": task, "text": text})
        return answers


class RegionTextLoop(Loop[RegionTextConfig]):
    """Texts of crops by BLIP and their noun phrases; an image's crops are asked about together."""

    def __init__(self, stage: Any) -> None:
        super().__init__(stage)
        self._english = load_english()

    def annotate(self, images: list[Image.Image]) -> list[list[Any]]:
        crops = [image.crop(window) for image in images for window in self._windows(image)]
        texts = [text for part in cut(crops, self.config.batch_size) for text in self._texts(part)]
        documents = self._english.pipe(dict.fromkeys(texts))
        names = {
            one.text: {one.text[slice(*p.words)] for p in noun_phrases(one)} - {one.text}
            for one in documents
        }
        each = len(crops) // len(images)
        return [
            [one for text in part if text for one in (text, *names[text])]
            for part in cut(texts, each)
        ]

    def _windows(self, image: Image.Image) -> list[Any]:
        shape = image.size[::-1]
        return [around(np.array(box), self.config.margin, shape) for box in boxes(image.size, GRID)]

    def _texts(self, crops: Sequence[Image.Image]) -> list[str]:
        prompts = [self.config.prompt for _ in crops]
        inputs = self.placed(self.processor(images=list(crops), text=prompts, return_tensors="pt"))
        ids = self.model.generate(**inputs, max_new_tokens=self.config.max_new_tokens, **GREEDY)
        return _sentences(self, ids[:, inputs["input_ids"].shape[1] - 1 :])


class TrOcrLoop(Loop[TrOcrConfig]):
    """Lines of text by TrOCR, without the probabilities that the stage computes."""

    def annotate(self, images: list[Image.Image]) -> list[list[Any]]:
        lines = [image.crop(box) for image in images for box in boxes(image.size, (1, TEXT_LINES))]
        texts = [text for part in cut(lines, self.config.batch_size) for text in self._texts(part)]
        return [[text for text in part if text] for part in cut(texts, TEXT_LINES)]

    def _texts(self, lines: Sequence[Image.Image]) -> list[str]:
        inputs = self.placed(
            self.processor.image_processor(images=list(lines), return_tensors="pt")
        )
        ids = self.model.generate(**inputs, max_new_tokens=self.config.max_new_tokens, **GREEDY)
        texts = self.processor.batch_decode(ids, skip_special_tokens=True)
        return [text.strip() for text in texts]


def _sentences(loop: Loop[Any], ids: Any) -> list[str]:
    """Decode answers; what was not finished ends with its last whole sentence."""
    text_config = loop.model.config.text_config
    ends = loop.model.generation_config.eos_token_id
    if loop.model.config.model_type == "blip":
        ends = text_config.sep_token_id
    is_finished = np.isin(ids.cpu().numpy(), ends).any(axis=1)
    texts = loop.processor.batch_decode(ids, skip_special_tokens=True)
    return [
        cleaned(text if finished else whole_sentences(text))
        for text, finished in zip(texts, is_finished, strict=True)
    ]
