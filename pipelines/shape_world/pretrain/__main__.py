"""`python -m pipelines.shape_world.pretrain FOLDER` makes the tiny student and measures it."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False)


@app.command()
def main(
    folder: Annotated[Path, typer.Argument(help="Where the student goes.")],
    share: Annotated[
        float, typer.Option(min=0.0, help="Share of the full plan's steps; 1 needs half an hour.")
    ] = 1.0,
    scenes: Annotated[
        int, typer.Option(min=1, help="Easy scenes to draw and learn from.")
    ] = 12_000,
    seed: Annotated[int, typer.Option(help="Another seed is another student.")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="Processor threads to use.")] = 1,
    keep: Annotated[Path | None, typer.Option(help="A folder for early students.")] = None,
) -> None:
    """Pretrain a Florence-2 of a million parameters on easy scenes of the known world."""
    import torch

    from pipelines.shape_world.pretrain.pretrain import Plan, pretrain

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    torch.set_num_threads(threads)
    plan = Plan(scenes=scenes, seed=seed).scaled(share)
    typer.echo(json.dumps(pretrain(folder, plan, keep=keep), indent=2))


if __name__ == "__main__":
    app()
