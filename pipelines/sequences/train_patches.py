"""Makes the code books of `patches` again, in half a minute:

    python -m florilegium.pipelines.sequences.train_patches

Masks are those of drawn scenes that no test and no config uses; images are those scenes and the
photographs of the extra `photographs`.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files

import numpy as np
from PIL import Image

from florilegium.pipelines.sequences.patches import FOLDER, ImagePatches, MaskPatches, PatchCodec
from florilegium.pipelines.shape_world.drawing import draw
from florilegium.pipelines.shape_world.scene import Scene, WorldConfig

MASK_CODES, IMAGE_CODES = 512, 1024
WORLD = WorldConfig(count=600, start=5_000_000, seed=77)
PHOTOGRAPHS = (
    ("skimage.data", ("astronaut.png", "chelsea.png", "motorcycle_left.png", "rocket.jpg")),
    ("sklearn.datasets", ("images/flower.jpg",)),
)
"""Photographs that are learned from; others of these packages are for tests."""
_CROPS = 40


def main() -> None:
    """Write both code books."""
    scenes = [draw(WORLD, number) for number in WORLD.numbers]
    masks = [mask for scene in scenes for mask in masks_of(scene)]
    write(MaskPatches(), masks, MASK_CODES)
    images = [scene.pixels for scene in scenes[:150]] + list(_crops())
    write(ImagePatches(), images, IMAGE_CODES)


def masks_of(scene: Scene) -> Iterator[np.ndarray]:
    """Yield the mask of each thing, cut out of the scene."""
    for thing in scene.things:
        rows, columns = (np.flatnonzero(thing.mask.any(axis=axis)) for axis in (1, 0))
        if len(rows):
            yield thing.mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def write(codec: PatchCodec, images: list[np.ndarray], codes: int) -> None:
    """Cluster the patches of images, and write the centres as a code book."""
    from sklearn.cluster import MiniBatchKMeans

    patches = np.concatenate([codec.patches(one) for one in images])
    clusters = MiniBatchKMeans(codes, random_state=0, batch_size=4096, n_init=1, max_iter=30)
    centres = clusters.fit(patches).cluster_centers_
    order = np.lexsort((centres.std(axis=1), centres.mean(axis=1)))
    book = np.rint(centres[order].clip(0, 1) * 255).astype(np.uint8)
    np.save(FOLDER / codec.book_name, book, allow_pickle=False)


def _crops() -> Iterator[np.ndarray]:
    """Yield parts of the photographs, of other sizes each."""
    rng = np.random.default_rng(0)
    for package, names in PHOTOGRAPHS:
        for name in names:
            with Image.open(str(files(package) / name)) as image:
                pixels = np.asarray(image.convert("RGB"))
            for _ in range(_CROPS):
                side = int(rng.integers(96, min(pixels.shape[:2]) + 1))
                top, left = (int(rng.integers(0, room - side + 1)) for room in pixels.shape[:2])
                yield pixels[top : top + side, left : left + side]


if __name__ == "__main__":
    main()
