"""Fine-tune Florence-2 on a dataset of Florilegium, with `transformers` and a plain loop.

    florilegium export out/mine --format florence2 --output out/jsonl
    python finetune.py out/jsonl --model florence-community/Florence-2-base --output out/tuned

Reads the exported JSONL and images and imports nothing of Florilegium. The model is a hub id or a
folder; the result is a folder that `from_pretrained` reads.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from transformers import AutoModelForImageTextToText, AutoProcessor

IGNORED = -100
"""The label of a token that does not count in the loss: padding."""
Example = tuple[Image.Image, str, str]


class Examples(Dataset[Example]):
    """The lines of `annotations.jsonl` in a folder: image, prompt and answer."""

    def __init__(self, folder: Path) -> None:
        text = (folder / "annotations.jsonl").read_text("utf-8")
        self.folder = folder
        self.rows = [json.loads(line) for line in text.splitlines()]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> Example:
        row = self.rows[number]
        with Image.open(self.folder / row["image"]) as image:
            return image.convert("RGB"), row["prefix"], row["suffix"]


class Collate:
    """Makes a batch of examples: pixels, prompts, and answers as labels."""

    def __init__(self, processor: Any, most_tokens: int) -> None:
        self.processor = processor
        self.most_tokens = most_tokens

    def __call__(self, examples: Sequence[Example]) -> dict[str, torch.Tensor]:
        images, prompts, answers = map(list, zip(*examples, strict=True))
        batch = self.processor(text=prompts, images=images, return_tensors="pt", padding="longest")
        targets = self.processor.tokenizer(
            answers,
            return_tensors="pt",
            padding=True,
            truncation=True,
            max_length=self.most_tokens,
        )
        labels = targets.input_ids.masked_fill(targets.attention_mask == 0, IGNORED)
        return {**batch, "labels": labels}


def finetune(arguments: argparse.Namespace) -> list[float]:
    """Train and save the model; return the validation loss before, and after each epoch."""
    torch.manual_seed(arguments.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    processor = AutoProcessor.from_pretrained(arguments.model)
    model = AutoModelForImageTextToText.from_pretrained(arguments.model).to(device)
    collate = Collate(processor, arguments.most_tokens)
    training, validation = (
        DataLoader(
            Examples(arguments.folder / part),
            batch_size=arguments.batch_size,
            shuffle=part == "train",
            collate_fn=collate,
        )
        for part in ("train", "valid")
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=arguments.learning_rate)
    losses = [mean_loss(model, validation)]
    print(f"before: validation loss {losses[-1]:.4f}")
    for epoch in range(1, arguments.epochs + 1):
        model.train()
        for batch in on(device, training):
            loss = model(**batch).loss
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        losses.append(mean_loss(model, validation))
        print(f"epoch {epoch}: validation loss {losses[-1]:.4f}")
    model.save_pretrained(arguments.output)
    processor.save_pretrained(arguments.output)
    return losses


def on(device: str, batches: DataLoader[Any]) -> Iterator[dict[str, torch.Tensor]]:
    """Yield batches whose tensors are on a device."""
    for batch in batches:
        yield {name: tensor.to(device) for name, tensor in batch.items()}


@torch.inference_mode()
def mean_loss(model: Any, batches: DataLoader[Any]) -> float:
    """Return the mean loss of a model over all batches."""
    model.eval()
    losses = [model(**batch).loss.item() for batch in on(model.device.type, batches)]
    return sum(losses) / len(losses)


def arguments_of(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line. The default learning rate is a safe one for the released weights."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="what `export --format florence2` wrote")
    parser.add_argument("--model", required=True, help="a hub id or a folder")
    parser.add_argument("--output", type=Path, required=True, help="where the result is saved")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--learning-rate", type=float, default=1e-6)
    parser.add_argument("--most-tokens", type=int, default=512, help="longest answer, in tokens")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(words)


if __name__ == "__main__":
    finetune(arguments_of())
