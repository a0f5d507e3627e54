"""Train a classifier of boxes on a dataset of Florilegium, with webdataset and torch.

    python train.py out/mine
    torchrun --nproc-per-node 2 train.py out/mine --workers 2

Reads the tars that `manifest.json` names and imports nothing of Florilegium. Every rank, and every
loader worker of a rank, reads shards that no other reads. One shard in eight is for validation.
"""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import webdataset as wds
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate
from torch.utils.data import DataLoader

TASK = "object_detection"
SIDE = 32
"""Pixels of the side of a crop."""
Pair = tuple[Tensor, int]


def shards_of(dataset: Path) -> tuple[list[str], list[str]]:
    """Return the tars of the current version: those to train on, those to validate on."""
    manifest = json.loads((dataset / "manifest.json").read_bytes())
    tars = [str(dataset / "shards" / f"{shard['name']}.tar") for shard in manifest["shards"]]
    if len(tars) < 2:
        raise SystemExit(f"{dataset} has one shard: build it with a smaller `shard_size`")
    return [tar for number, tar in enumerate(tars) if number % 8], tars[::8]


def labels_of(tars: Sequence[str], most: int) -> list[str]:
    """Return the labels of boxes that most samples have, at most so many, most frequent first."""
    counts: Counter[str] = Counter()
    samples = wds.WebDataset(list(tars), shardshuffle=False, nodesplitter=whole)
    for sample in samples.decode():
        counts.update({one["label"] for one in boxes_of(sample["json"])})
    return [label for label, _ in counts.most_common(most)]


def boxes_of(sample: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the annotations of a sample that are boxes with a name."""
    return [one for one in sample["annotations"] if one["task"] == TASK and one["label"]]


def crops_of(image: Tensor, sample: dict[str, Any], labels: Sequence[str]) -> Iterator[Pair]:
    """Yield the crop of each box, float32, (3, SIDE, SIDE), 0..1, and the index of its label.

    Boxes are in pixels of the stored image, which is upright.
    """
    for one in boxes_of(sample):
        left, top, right, bottom = (round(edge) for edge in one["box_xyxy"])
        crop = image[:, top : max(bottom, top + 1), left : max(right, left + 1)]
        if one["label"] in labels and crop.numel():
            yield interpolate(crop[None], (SIDE, SIDE))[0], labels.index(one["label"])


def pairs_of(tars: Sequence[str], labels: Sequence[str], *, is_training: bool) -> Any:
    """Return the pairs of crop and label in these tars, without end when training.

    When training, `split_by_node` gives each rank its shards, and webdataset then gives each
    worker of a loader its own of those. A rank with fewer samples begins again earlier.
    """
    samples = wds.WebDataset(
        list(tars),
        shardshuffle=len(tars) if is_training else False,
        nodesplitter=wds.split_by_node if is_training else whole,
        seed=0,
    ).decode("torchrgb")
    pairs = samples.to_tuple("jpg;png", "json").compose(
        lambda read: (pair for image, sample in read for pair in crops_of(image, sample, labels))
    )
    return pairs.shuffle(500).repeat() if is_training else pairs


def whole(tars: Iterator[Any]) -> Iterator[Any]:
    """Give every rank all shards: what is counted or validated is the same in each."""
    return tars


def network(classes: int) -> nn.Sequential:
    """Return a small convolutional network that classifies crops."""
    layers: list[nn.Module] = []
    for before, after in ((3, 16), (16, 32), (32, 64)):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
        layers += [nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(256, classes))


def train(arguments: argparse.Namespace) -> float:
    """Train, and return the share of the validation crops that are named right, 0..1."""
    rank, ranks = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    training, validation = shards_of(arguments.dataset)
    if len(training) < ranks * max(arguments.workers, 1):
        raise SystemExit(
            f"{len(training)} shards cannot be shared by {ranks} ranks with {arguments.workers} "
            f"workers each: build the dataset with a smaller `shard_size`"
        )
    labels = labels_of(training, arguments.labels)
    torch.manual_seed(0)
    model: nn.Module = network(len(labels))
    if ranks > 1:
        dist.init_process_group("gloo")
        model = nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=arguments.learning_rate)
    loader = DataLoader(
        pairs_of(training, labels, is_training=True),
        batch_size=arguments.batch_size,
        num_workers=arguments.workers,
    )
    for step, (crops, names) in enumerate(islice(loader, arguments.steps), start=1):
        loss = cross_entropy(model(crops), names)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if rank == 0 and step % 50 == 0:
            print(f"step {step}: loss {loss.item():.3f}")
    share = accuracy(model, validation, labels)
    if rank == 0:
        print(f"{share:.1%} of the crops in {len(validation)} other shards are named right")
    if ranks > 1:
        dist.destroy_process_group()
    return share


@torch.inference_mode()
def accuracy(model: nn.Module, tars: Sequence[str], labels: Sequence[str]) -> float:
    """Return the share of crops that a model names as the dataset does, 0..1."""
    model.eval()
    right = total = 0
    for crops, names in DataLoader(pairs_of(tars, labels, is_training=False), batch_size=64):
        right += int((model(crops).argmax(dim=1) == names).sum())
        total += len(names)
    return right / total


def arguments_of(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("dataset", type=Path, help="the folder of a finished dataset")
    parser.add_argument("--labels", type=int, default=50, help="how many labels to tell apart")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--workers", type=int, default=0, help="processes that read, for each rank")
    return parser.parse_args(words)


if __name__ == "__main__":
    train(arguments_of())
