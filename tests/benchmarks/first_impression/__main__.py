"""`python -m tests.benchmarks.first_impression [--output FOLDER] [--config FILE]`.

A second run with the same `--output` asks again only the stages that changed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.benchmarks.children import ROOT
from tests.benchmarks.first_impression.measuring import KINDS, Impression, build, look_at
from tests.benchmarks.first_impression.pictures import gather


def main() -> int:
    """Build, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("out/first_impression"))
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "quickstart.yaml")
    parser.add_argument("--captions", action="store_true", help="print all captions, too")
    options = parser.parse_args()
    pictures = options.output / "pictures"
    if missing := gather(pictures):
        sys.stderr.write(f"without {len(missing)} photographs; `make photographs` gets them\n")
    build(options.config, pictures, options.output / "dataset")
    show(look_at(options.output / "dataset"), has_captions=options.captions)
    return 0


def show(impression: Impression, *, has_captions: bool = False) -> None:
    """Print what is wrong or unknown, and the tables."""
    console = Console(width=120, highlight=False, markup=False)
    for verdict in ("unsure", "wrong"):
        for one in impression.statements:
            if one.verdict == verdict:
                console.print(f"{verdict:6} {one.key}: {one.kind}: {one.words}")
    for key, text, wrong in impression.captions if has_captions else ():
        console.print(f"{wrong} wrong in {key}: {text}")
    table = Table()
    for column in ("statements", "right", "wrong", "unsure", "right of judged"):
        table.add_column(column, justify="right")
    for kind in (*KINDS, "all"):
        counts = [impression.count(kind, verdict) for verdict in ("right", "wrong", "unsure")]
        share = f"{100 * impression.share_right(kind):.1f} %" if sum(counts[:2]) else ""
        table.add_row(kind, *map(str, counts), share)
    console.print(table)
    captions = impression.captions
    bad = sum(wrong > 0 for _, _, wrong in captions)
    console.print(
        f"{impression.pictures} pictures, {100 * impression.captioned:.1f} % with a caption"
    )
    console.print(f"{len(captions)} captions, {bad} with a wrong claim")


if __name__ == "__main__":
    sys.exit(main())
