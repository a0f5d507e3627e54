"""A mask for each box of other stages, by Segment Anything and its successors.

SAM (Kirillov et al., ICCV 2023), SAM-HQ, SAM 2 and the tracker of SAM 3 work alike: an image is
encoded once, then each distinct box is decoded to a mask. Labels come from the boxes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
from pycocotools import mask as coco_mask
from pydantic import Field, field_validator

from florilegium.engine.core.annotation import Annotation, MaskRLE
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import CONTENT, RUNTIME, Input, Specialist, StageConfig, one_of
from florilegium.specialists.pretrained.checkpoint import Checkpoint, Family
from florilegium.specialists.pretrained.config import PretrainedConfig
from florilegium.specialists.pretrained.network import Network, preprocess, to_float32
from florilegium.specialists.pretrained.stage import Pretrained
from florilegium.specialists.pretrained.views import View
from florilegium.specialists.regions.places import places
from florilegium.specialists.segmentation.mask_logits import (
    bytes_of,
    compressed,
    packed_changes,
    run_lengths,
    stability,
)

if TYPE_CHECKING:
    from torch import Tensor

MASK_TASKS = {
    "object_detection": "segmentation",
    "open_vocabulary_detection": "segmentation",
    "region_proposal": "segmentation",
    "phrase_grounding": "referring_segmentation",
}
"""The task of a mask, by the task of its box."""

_PROCESSORS = {
    "sam": "SamProcessor",
    "sam_hq": "SamHQProcessor",
    "sam2": "Sam2Processor",
    # SAM 2 on the hub includes its memory for videos, which is not used for images.
    "sam2_video": "Sam2Processor",
    "sam3_tracker": "Sam3TrackerProcessor",
}
_SIZES = ("original_sizes", "reshaped_input_sizes")
"""Inputs that processors need to undo their resizing and padding."""
_PIXELS_AT_ONCE = 16 * 1024 * 1024
"""Maximum pixels of masks that are enlarged to the image size together."""

BoxTask = Literal[
    "object_detection", "open_vocabulary_detection", "region_proposal", "phrase_grounding"
]


class SegmentAnythingConfig(PretrainedConfig):
    """Options of `segment_anything`."""

    model: Annotated[str, CONTENT] = "facebook/sam-vit-huge"
    """A folder, `package://NAME/FOLDER` or a hub id of a SAM, SAM-HQ or SAM 2, or of the
    tracker of a SAM 3."""
    tasks: tuple[BoxTask, ...] = Field(
        default=("object_detection", "phrase_grounding"), min_length=1
    )
    """Tasks whose boxes are segmented: the mask of a phrase is a `referring_segmentation`, any
    other a `segmentation`. Of boxes of several tasks that mark one place, one is segmented."""
    multimask: bool = False
    """Decode three masks and keep the one with the highest predicted IoU. Meant for points, which
    may refer to a part or the whole; boxes are seldom ambiguous."""
    boxes_at_once: Annotated[int, RUNTIME, Field(ge=1)] = 32
    """Boxes that are decoded together; lower it to save memory."""

    @field_validator("tasks")
    @classmethod
    def _each_once(cls, tasks: tuple[BoxTask, ...]) -> tuple[BoxTask, ...]:
        return tuple(dict.fromkeys(tasks))

    @field_validator("image_size")
    @classmethod
    def _as_trained(cls, side: int | None) -> int | None:
        if side is not None:
            raise ValueError("Segment Anything takes images of one size only; leave it out")
        return side


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompts:
    """The distinct boxes of an image (n, 4), and the annotations with the index of their box."""

    parents: tuple[Annotation, ...]
    index: tuple[int, ...]
    boxes_xyxy: np.ndarray


class Masks(NamedTuple):
    """The masks of boxes as run lengths, with predicted IoU and stability, 0..1."""

    runs: list[np.ndarray]
    iou: list[float]
    stability: list[float]


class SegmentAnything(Pretrained[SegmentAnythingConfig], Specialist[SegmentAnythingConfig]):
    """Masks of boxes and of grounded phrases; the parent of a mask is the box or the phrase.

    `score` is the predicted intersection over union with the true mask, `support` the mask's
    stability score. The box is the tight one of the mask; label and text are the parent's. Empty
    masks are left out.
    """

    Config: ClassVar[type[StageConfig]] = SegmentAnythingConfig
    version: ClassVar[int] = 2
    family: ClassVar[Family] = Family(
        title="a Segment Anything model",
        example="facebook/sam-vit-huge",
        model_class="AutoModelForMaskGeneration",
        model_types=tuple(_PROCESSORS),
        needs_torchvision=("sam2", "sam2_video", "sam3_tracker"),
    )
    reads: tuple[Input, ...] = (one_of("object_detection", "phrase_grounding"),)
    produces: tuple[str, ...] = ("segmentation", "referring_segmentation")

    def __init__(self, config: SegmentAnythingConfig) -> None:
        super().__init__(config)
        self.reads = (one_of(*config.tasks),)
        self.each = config.tasks
        self.produces = tuple(dict.fromkeys(MASK_TASKS[task] for task in config.tasks))

    def checkpoint(self) -> Checkpoint:
        """Find the checkpoint, and set the processor class that takes boxes."""
        found = super().checkpoint()
        processor = _PROCESSORS[found.model_type]
        return replace(found, family=replace(found.family, processor_class=processor))

    def load(self) -> None:
        """Load the weights; only the vision encoder is compiled."""
        self.network = Network(self.checkpoint(), self.config.model_copy(update={"compile": False}))
        if self.config.compile:
            self.network.model.vision_encoder.compile()

    def chosen(self, sample: Sample) -> list[Annotation]:
        """Return what gets a mask: of each place one box, the first in rank first, and phrases."""
        boxed = [one for one in sample.of(*self.config.tasks) if one.box_xyxy]
        found = places((one for one in boxed if one.kind == "region"), sample.known)
        return [*(one for one, *_ in found), *(one for one in boxed if one.kind == "phrase")]

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        """Segment the boxes; images without boxes are skipped."""
        prompts = [prompts_of(sample, self.chosen(sample)) for sample in samples]
        rows = [row for row, own in enumerate(prompts) if own.parents]
        prepared = self.network.prepare(
            [(samples[row].picture, prompts[row].boxes_xyxy) for row in rows],
            _PreprocessWithBoxes(self.network.processor),
        )
        answers: list[list[Annotation]] = [[] for _ in samples]
        for row, masks in zip(rows, self._segmented(prepared), strict=True):
            size_hw = (samples[row].height, samples[row].width)
            answers[row] = list(_annotations(prompts[row], masks, size_hw))
        return answers

    def _segmented(self, prepared: Sequence[dict[str, Tensor]]) -> list[Masks]:
        def forward(inputs: dict[str, Tensor], numbers: list[int]) -> tuple[Tensor, ...]:
            embeddings = self._encoded(inputs["pixel_values"])
            return self._decoded(embeddings, [prepared[number] for number in numbers])

        def finish(outputs: tuple[Tensor, ...], numbers: Sequence[int]) -> Iterator[Masks]:
            return _masks(outputs, [prepared[number] for number in numbers])

        return self.network.run(
            [{"pixel_values": one["pixel_values"]} for one in prepared], forward, finish
        )

    def _encoded(self, pixels: Tensor) -> dict[str, Any]:
        """Return the decoder's inputs for images, by their names."""
        with self.network.device:  # where the encoder makes its tables of positions
            found = self.network.model.get_image_embeddings(pixels)
        if isinstance(found, tuple):  # SAM-HQ also uses early layers
            return dict(zip(("image_embeddings", "intermediate_embeddings"), found, strict=True))
        return {"image_embeddings": found}

    def _decoded(
        self, embeddings: dict[str, Any], prepared: Sequence[Mapping[str, Tensor]]
    ) -> tuple[Tensor, ...]:
        """Decode the boxes of a batch in chunks, and enlarge the masks to the sizes of the images.

        The predicted IoU and the stability of each mask, both (boxes,), and `packed_changes` of all
        masks, one after the other.
        """
        import torch

        counts = [len(one["input_boxes"]) for one in prepared]
        image_of = [row for row, count in enumerate(counts) for _ in range(count)]
        # Not in the model's dtype: in bfloat16 corners could be two pixels off.
        boxes_xyxy = self.network.to_device(torch.cat([one["input_boxes"] for one in prepared]))
        size = self.config.boxes_at_once
        decoded = [
            self._best(_of_images(embeddings, image_of[start : start + size]), some)
            for start, some in zip(
                range(0, len(image_of), size), torch.split(boxes_xyxy, size), strict=True
            )
        ]
        iou, logits = (torch.cat(each) for each in zip(*decoded, strict=True))
        enlarged = [
            self._packed(own, one)
            for own, one in zip(torch.split(logits.float(), counts), prepared, strict=True)
        ]
        steady, changes = (torch.cat(each) for each in zip(*enlarged, strict=True))
        return iou, steady, changes

    def _best(self, embeddings: dict[str, Any], boxes_xyxy: Tensor) -> tuple[Tensor, Tensor]:
        """Return the highest predicted IoU for each box (n,), and the logits of its mask.

        The IoU is NaN where a logit is.
        """
        import torch

        decoded = self.network.model(
            **embeddings,
            input_boxes=boxes_xyxy[:, None],
            multimask_output=self.config.multimask,
        )
        iou, best = decoded.iou_scores[:, 0].max(dim=1)
        chosen = torch.take_along_dim(decoded.pred_masks[:, 0], best[:, None, None, None], dim=1)
        logits = chosen[:, 0]
        return iou.masked_fill(logits.isnan().any(dim=(1, 2)), float("nan")), logits

    def _packed(self, logits: Tensor, prepared: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the stability of the masks of one image, and their `packed_changes`, flat."""
        import torch

        pixels = max(int(prepared["original_sizes"].prod()), prepared["pixel_values"][0].numel())
        enlarged = (
            self._enlarged(some, prepared)
            for some in torch.split(logits, max(1, _PIXELS_AT_ONCE // pixels))
        )
        parts = [(stability(some), packed_changes(some > 0).flatten()) for some in enlarged]
        steady, changes = (torch.cat(each) for each in zip(*parts, strict=True))
        return steady, changes

    def _enlarged(self, logits: Tensor, prepared: Mapping[str, Tensor]) -> Tensor:
        """Return logits in the size of the image, without padding."""
        sizes = {name: prepared[name][None] for name in _SIZES if name in prepared}
        (enlarged,) = self.network.processor.post_process_masks(
            [logits[:, None]], binarize=False, **sizes
        )
        return enlarged[:, 0]


@dataclass(frozen=True)
class _PreprocessWithBoxes:
    """Returns the preprocessed image and boxes (n, 4), and the original sizes."""

    processor: Any

    def __call__(self, prompted: tuple[View, np.ndarray]) -> dict[str, Tensor]:
        view, boxes_xyxy = prompted
        processor = partial(self.processor, input_boxes=[boxes_xyxy.tolist()])
        return preprocess(processor, view.pixels())


def prompts_of(sample: Sample, parents: Sequence[Annotation]) -> Prompts:
    """Return the boxes to segment, clipped to the image; boxes outside of it are removed."""
    boxes_xyxy = np.array([one.box_xyxy for one in parents], dtype=np.float64).reshape(-1, 4)
    boxes_xyxy = boxes_xyxy.clip(0, np.tile((sample.width, sample.height), 2))
    inside = (boxes_xyxy[:, 2:] > boxes_xyxy[:, :2]).all(axis=1)
    distinct, index = np.unique(boxes_xyxy[inside], axis=0, return_inverse=True)
    return Prompts(
        parents=tuple(parents[row] for row in np.flatnonzero(inside).tolist()),
        index=tuple(index.ravel().tolist()),
        boxes_xyxy=distinct,
    )


def _of_images(batch: Any, rows: Sequence[int]) -> Any:
    """Return the images of a nested batch in ascending rows, which may repeat."""
    import torch

    if isinstance(batch, dict):
        return {name: _of_images(each, rows) for name, each in batch.items()}
    if isinstance(batch, list | tuple):
        return [_of_images(each, rows) for each in batch]
    counts = Counter(rows)
    # By slices, as an index would have to be moved to the device.
    repeated = (batch[row].expand(count, *batch[row].shape) for row, count in counts.items())
    return torch.cat(list(repeated))


def _masks(
    outputs: tuple[Tensor, ...], prepared: Sequence[Mapping[str, Tensor]]
) -> Iterator[Masks]:
    """Yield the masks of each image from the outputs of `_decoded`, on the host."""
    iou, steady, changes = outputs
    iou = to_float32(iou).clamp(0, 1)
    box = byte = 0
    for one in prepared:
        count, pixels = len(one["input_boxes"]), int(one["original_sizes"].prod())
        own, size = slice(box, box + count), count * bytes_of(pixels)
        packed = changes[byte : byte + size].reshape(count, -1).numpy()
        yield Masks(
            runs=run_lengths(packed, pixels), iou=iou[own].tolist(), stability=steady[own].tolist()
        )
        box, byte = box + count, byte + size


def _annotations(prompts: Prompts, masks: Masks, size_hw: tuple[int, int]) -> Iterator[Annotation]:
    rles = compressed(masks.runs, size_hw)
    corners = coco_mask.toBbox(rles)
    # Not by their areas, which pycocotools cannot compute for more than 255 masks.
    has_pixels = (corners[:, 2:] > 0).all(axis=1)
    corners[:, 2:] += corners[:, :2]
    for parent, index in zip(prompts.parents, prompts.index, strict=True):
        if has_pixels[index]:
            yield Annotation(
                kind="region",
                task=MASK_TASKS[parent.task],
                label=parent.label,
                text=parent.text,
                language=parent.language,
                box_xyxy=tuple(corners[index].tolist()),
                mask_rle=MaskRLE(size=size_hw, counts=rles[index]["counts"].decode("ascii")),
                score=masks.iou[index],
                support=masks.stability[index],
                parent_id=parent.id,
            )
