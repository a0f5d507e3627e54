"""Object detection by any detector of the DETR family in `transformers`.

Each image processor interprets the outputs of its own family. The same boxes without names, after
non-maximum suppression, are region proposals.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import Field, field_validator

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.errors import ConfigError
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import CONTENT, Specialist, StageConfig
from florilegium.specialists.pretrained.checkpoint import Checkpoint, Family
from florilegium.specialists.pretrained.config import PretrainedConfig
from florilegium.specialists.pretrained.network import preprocess, to_float32
from florilegium.specialists.pretrained.precision import to_full_precision
from florilegium.specialists.pretrained.stage import Pretrained
from florilegium.specialists.pretrained.views import Preprocess

if TYPE_CHECKING:
    from torch import Tensor

_NAMELESS = ("", "N/A")
"""Labels of the gaps in COCO's numbering of classes, which many checkpoints contain."""

_BOX_LAYERS = (
    *("model.decoder", "bbox_embed", "class_embed"),
    *("bbox_predictor", "class_labels_classifier"),  # of DETR, Conditional DETR and YOLOS
)
"""Names of the layers that predict boxes and classes, in all families; they run in float32."""

DetectorTask = Literal["object_detection", "region_proposal"]


class DetectorConfig(PretrainedConfig):
    """Options of `detector`."""

    model: Annotated[str, CONTENT] = "ustc-community/dfine-xlarge-obj365"
    """A folder, `package://NAME/FOLDER` or a hub id. The default has the 365 classes of Objects365;
    most others have the 80 of COCO."""
    tasks: tuple[DetectorTask, ...] = Field(default=("object_detection",), min_length=1)
    """`object_detection` for boxes with names, `region_proposal` for boxes without; both together
    take one forward pass."""
    least_score: float = Field(default=0.1, ge=0, lt=1)
    """Score that objects must exceed, 0..1. Low by default: filters judge later."""
    least_proposal_score: float = Field(default=0.05, ge=0, lt=1)
    """The same for proposals: an object may exist though no class fits."""
    proposal_iou: float = Field(default=0.7, gt=0, le=1)
    """Intersection over union above which non-maximum suppression keeps only the best proposal."""
    max_proposals: int = Field(default=100, ge=1)
    """Maximum proposals of one image, highest scores first."""

    @field_validator("tasks")
    @classmethod
    def _each_once(cls, tasks: tuple[DetectorTask, ...]) -> tuple[DetectorTask, ...]:
        return tuple(dict.fromkeys(tasks))


class Detections(NamedTuple):
    """The detections in one image: boxes (n, 4) in pixels, scores and classes (n,)."""

    boxes_xyxy: np.ndarray
    scores: np.ndarray
    classes: np.ndarray


class Detector(Pretrained[DetectorConfig], Specialist[DetectorConfig]):
    """Boxes with the class names of a checkpoint, or without.

    The score is the probability of the class, by the post-processing of the checkpoint's processor;
    for a proposal, that of its most probable class. Boxes are clipped to the image.
    """

    Config: ClassVar[type[StageConfig]] = DetectorConfig
    family: ClassVar[Family] = Family(
        title="an object detector",
        example="PekingU/rtdetr_v2_r50vd",
        model_class="AutoModelForObjectDetection",
        model_types=(
            *("detr", "conditional_detr", "deformable_detr", "yolos"),
            *("rt_detr", "rt_detr_v2", "d_fine", "deimv2", "lw_detr", "rf_detr"),
        ),
        processor_class="AutoImageProcessor",
        needs_torchvision=("rf_detr",),
    )
    produces: tuple[str, ...] = ("object_detection", "region_proposal")

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__(config)
        self.produces = config.tasks

    def checkpoint(self) -> Checkpoint:
        """Find the checkpoint.

        Raises:
            ConfigError: it is missing, cannot be used, or does not name its classes.
            MissingPackage: it needs torchvision or timm.
        """
        checkpoint = super().checkpoint()
        if "object_detection" in self.config.tasks:
            config = json.loads((checkpoint.folder / "config.json").read_text("utf-8"))
            _check_names(checkpoint, config)
        return checkpoint

    def load(self) -> None:
        """Load the weights, and try `image_size` if it is set."""
        super().load()
        modules = dict(self.network.model.named_modules())
        to_full_precision(self.network, *(modules[name] for name in _BOX_LAYERS if name in modules))
        if self.config.image_size is None:
            return
        try:
            grey = np.full((64, 64, 3), 127, dtype=np.uint8)
            self._detect([preprocess(self.network.processor, grey)], [(64, 64)])
        except Exception as error:  # the network raises any exception
            raise ConfigError(
                f"model {self.config.model!r} cannot take images of image_size "
                f"{self.config.image_size}: {error}; leave it out, or take a multiple of 32"
            ) from error

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        """Detect objects, proposals, or both."""
        pictures = [sample.picture for sample in samples]
        prepared = self.network.prepare(pictures, Preprocess(self.network.image_processor))
        sizes_hw = [(sample.height, sample.width) for sample in samples]
        return [
            list(self._annotations(_clipped(found, size_hw)))
            for found, size_hw in zip(self._detect(prepared, sizes_hw), sizes_hw, strict=True)
        ]

    def _detect(
        self, prepared: Sequence[Mapping[str, Tensor]], sizes_hw: Sequence[tuple[int, int]]
    ) -> list[Detections]:
        least = {
            "object_detection": self.config.least_score,
            "region_proposal": self.config.least_proposal_score,
        }

        def forward(inputs: dict[str, Tensor], _: object) -> tuple[Tensor, Tensor]:
            output = self.network.model(**inputs)
            return output.logits, output.pred_boxes

        def finish(outputs: tuple[Tensor, Tensor], numbers: Sequence[int]) -> list[Detections]:
            logits, boxes = map(to_float32, outputs)
            return [
                Detections(*(one[name].numpy() for name in ("boxes", "scores", "labels")))
                for one in self.network.processor.post_process_object_detection(
                    SimpleNamespace(logits=logits, pred_boxes=boxes),
                    threshold=min(least[task] for task in self.config.tasks),
                    target_sizes=[sizes_hw[number] for number in numbers],
                )
            ]

        return self.network.run(prepared, forward, finish)

    def _annotations(self, found: Detections) -> Iterator[Annotation]:
        names = self.network.model.config.id2label
        if "object_detection" in self.config.tasks:
            for row in np.flatnonzero(found.scores > self.config.least_score).tolist():
                name = names[int(found.classes[row])]
                if name.strip() not in _NAMELESS:
                    yield _region("object_detection", found, row, name)
        if "region_proposal" in self.config.tasks:
            for row in self._proposals(found):
                yield _region("region_proposal", found, row)

    def _proposals(self, found: Detections) -> Sequence[int]:
        """Return the indices of the boxes that non-maximum suppression keeps, best first."""
        import cv2

        boxes_xywh = found.boxes_xyxy.astype(np.float64)
        boxes_xywh[:, 2:] -= boxes_xywh[:, :2]
        kept = cv2.dnn.NMSBoxes(
            boxes_xywh.tolist(),
            found.scores.tolist(),
            self.config.least_proposal_score,
            self.config.proposal_iou,
        )
        return [int(row) for row in kept[: self.config.max_proposals]]


def _region(task: DetectorTask, found: Detections, row: int, label: str = "") -> Annotation:
    return Annotation(
        kind="region",
        task=task,
        label=label,
        box_xyxy=tuple(found.boxes_xyxy[row].tolist()),
        score=float(found.scores[row]),
    )


def _clipped(found: Detections, size_hw: tuple[int, int]) -> Detections:
    """Clip boxes to the image; boxes outside of it are removed."""
    height, width = size_hw
    boxes_xyxy = found.boxes_xyxy.clip(0, (width, height, width, height))
    inside = (boxes_xyxy[:, 2:] > boxes_xyxy[:, :2]).all(axis=1)
    return Detections(boxes_xyxy[inside], found.scores[inside], found.classes[inside])


def _check_names(checkpoint: Checkpoint, config: Mapping[str, Any]) -> None:
    names = (config.get("id2label") or {}).values()
    if all(str(name).startswith("LABEL_") for name in names):
        raise ConfigError(
            f"model {checkpoint.model!r} does not name its classes: config.json has no id2label "
            "but LABEL_0 and so on; write the names there, or ask only for region_proposal"
        )
