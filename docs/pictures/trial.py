"""The picture of the how-to about trying a stage: `python docs/pictures/trial.py` writes `try.jpg`
beside it, as `florilegium try` draws it."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from florilegium.pipelines.trial.picture import draw
from florilegium.pipelines.trial.trial import prepare_trial, run_trial

PICTURE = Path(__file__).with_name("try.jpg")
STAGE, IMAGE = "imagenet_cam", "package://skimage/data/coffee.png"
MAX_BYTES = 100_000


def main() -> None:
    """Try the stage and write the picture.

    Raises:
        ValueError: the picture is too large for a page.
    """
    with TemporaryDirectory() as scratch:
        prepared = prepare_trial(STAGE, [IMAGE], scratch=Path(scratch))
        [image] = run_trial(prepared, on_step=lambda step: None).images
    assert image.data is not None, image.failure
    draw(image.data, image.rows).save(PICTURE, quality=80, optimize=True)
    if (size := PICTURE.stat().st_size) > MAX_BYTES:
        raise ValueError(f"{PICTURE} has {size} bytes, more than {MAX_BYTES}: lower its quality")
    sys.stdout.write(f"{PICTURE}\n")


if __name__ == "__main__":
    main()
