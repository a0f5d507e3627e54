"""`make pretrain`: pretrains the tiny student into a folder and measures it."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False)


@app.command()
def main(
    folder: Annotated[Path, typer.Argument(help="The folder to write the student to.")],
    share: Annotated[
        float,
        typer.Option(min=0.0, help="Share of the full number of steps; 1 takes half an hour."),
    ] = 1.0,
    scenes: Annotated[int, typer.Option(min=1, help="Easy scenes to train on.")] = 12_000,
    seed: Annotated[int, typer.Option(help="Seed of weights and batches.")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="Processor threads to use.")] = 1,
    keep: Annotated[Path | None, typer.Option(help="A folder for intermediate students.")] = None,
) -> None:
    """Pretrain a Florence-2 with a million parameters on easy drawn scenes."""
    import torch

    from florilegium.pipelines.shape_world.pretrain.pretrain import PretrainConfig, pretrain

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    torch.set_num_threads(threads)
    config = PretrainConfig(scenes=scenes, seed=seed).scaled(share)
    typer.echo(json.dumps(pretrain(folder, config, keep=keep), indent=2))


if __name__ == "__main__":
    app()
