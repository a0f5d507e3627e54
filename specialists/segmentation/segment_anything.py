"""A mask for each box that others found: Segment Anything and its successors.

SAM (Kirillov et al., ICCV 2023), SAM-HQ, SAM 2 and the tracker of SAM 3 are asked alike: an image
is encoded once, then each distinct box is decoded into a mask. What they are asked about has a
name already; they know none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
from pycocotools import mask as coco_mask
from pydantic import Field, field_validator

from engine.core.annotation import Annotation, MaskRLE
from engine.core.sample import Sample
from engine.core.stage import RUNTIME, Input, Specialist, StageConfig, one_of
from specialists.pretrained.checkpoint import Checkpoint, Family
from specialists.pretrained.config import PretrainedConfig
from specialists.pretrained.network import Network, exact, pictured
from specialists.pretrained.stage import Pretrained
from specialists.segmentation.mask_logits import compressed, run_lengths, stability

if TYPE_CHECKING:
    from torch import Tensor

SAID_OF = {
    "object_detection": "segmentation",
    "open_vocabulary_detection": "segmentation",
    "region_proposal": "segmentation",
    "phrase_grounding": "referring_segmentation",
}
"""What is said of a box, by the task that found it."""

_PROCESSORS = {
    "sam": "SamProcessor",
    "sam_hq": "SamHQProcessor",
    "sam2": "Sam2Processor",
    # The hub has SAM 2 with its memory for videos, which images do without.
    "sam2_video": "Sam2Processor",
    "sam3_tracker": "Sam3TrackerProcessor",
}
_SIZES = ("original_sizes", "reshaped_input_sizes")
"""What some processor wants to know to undo its resizing and padding."""
_PIXELS_AT_ONCE = 16 * 1024 * 1024
"""Pixels of the masks that are enlarged to the size of their image together."""

BoxTask = Literal[
    "object_detection", "open_vocabulary_detection", "region_proposal", "phrase_grounding"
]


class SegmentAnythingConfig(PretrainedConfig):
    """Which network, whose boxes, and how masks are chosen."""

    model: Annotated[str, RUNTIME] = "facebook/sam-vit-huge"
    """A folder, `package://NAME/FOLDER` or a hub id of a SAM, SAM-HQ or SAM 2, or of the
    tracker of a SAM 3."""
    tasks: tuple[BoxTask, ...] = Field(
        default=("object_detection", "phrase_grounding"), min_length=1
    )
    """Whose boxes are cut out: a phrase's mask is a `referring_segmentation`, any other a
    `segmentation`."""
    multimask: bool = False
    """Whether three masks are decoded and the one of the highest predicted IoU is said. They are
    meant for points, which may mean a part or the whole; a box seldom does."""
    boxes_at_once: Annotated[int, RUNTIME, Field(ge=1)] = 32
    """Boxes of an image that are decoded together; fewer where memory is short."""

    @field_validator("tasks")
    @classmethod
    def _each_once(cls, tasks: tuple[BoxTask, ...]) -> tuple[BoxTask, ...]:
        return tuple(dict.fromkeys(tasks))

    @field_validator("image_size")
    @classmethod
    def _as_trained(cls, side: int | None) -> int | None:
        if side is not None:
            raise ValueError("Segment Anything sees images of one size only; leave it out")
        return side


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompts:
    """Boxes of an image, each distinct one once (n, 4), and who found which of them, in order."""

    parents: tuple[Annotation, ...]
    place: tuple[int, ...]
    boxes_xyxy: np.ndarray


class Masks(NamedTuple):
    """The masks of boxes, as lengths of runs, with predicted IoU and stability, 0..1."""

    runs: list[np.ndarray]
    iou: list[float]
    stability: list[float]


class SegmentAnything(Pretrained[SegmentAnythingConfig], Specialist[SegmentAnythingConfig]):
    """Masks of boxes and of grounded phrases; the parent of a mask is the box or the phrase.

    The score is the intersection over union with the true mask that the network predicts,
    `support` the mask's stability: how little it depends on the threshold. The box is the tight
    one of the mask; label and text are the parent's. An empty mask is not said.
    """

    Config: ClassVar[type[StageConfig]] = SegmentAnythingConfig
    family: ClassVar[Family] = Family(
        title="a network that cuts out what a box shows",
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
        self.produces = tuple(dict.fromkeys(SAID_OF[task] for task in config.tasks))

    def checkpoint(self) -> Checkpoint:
        """Find the checkpoint, and the processor that takes boxes."""
        found = super().checkpoint()
        processor = _PROCESSORS[found.model_type]
        return replace(found, family=replace(found.family, processor_class=processor))

    def load(self) -> None:
        """Load the weights; of the network, what looks at images is worth compiling."""
        self.network = Network(self.checkpoint(), self.config.model_copy(update={"compile": False}))
        if self.config.compile:
            self.network.model.vision_encoder.compile()

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        """Cut out what the boxes show; images without boxes are not looked at."""
        prompts = [prompts_of(sample, self.config.tasks) for sample in samples]
        rows = [row for row, asked in enumerate(prompts) if asked.parents]
        prepared = self.network.prepare(
            rows, lambda row: self._prepared(samples[row].image, prompts[row].boxes_xyxy)
        )
        answers: list[list[Annotation]] = [[] for _ in samples]
        for row, masks in zip(rows, self._cut_out(prepared), strict=True):
            size_hw = (samples[row].height, samples[row].width)
            answers[row] = list(_annotations(prompts[row], masks, size_hw))
        return answers

    def _prepared(self, pixels: np.ndarray, boxes_xyxy: np.ndarray) -> dict[str, Tensor]:
        """Return the image and its boxes as the network sees them, and the sizes before."""
        processor = partial(self.network.processor, input_boxes=[boxes_xyxy.tolist()])
        return pictured(processor, pixels)

    def _cut_out(self, prepared: Sequence[dict[str, Tensor]]) -> list[Masks]:
        def forward(inputs: dict[str, Tensor], numbers: list[int]) -> list[Masks]:
            seen = self._encoded(inputs["pixel_values"])
            return [
                self._decoded(_of_one(seen, row), prepared[number])
                for row, number in enumerate(numbers)
            ]

        return self.network.run(
            [{"pixel_values": one["pixel_values"]} for one in prepared], forward
        )

    def _encoded(self, pixels: Tensor) -> dict[str, Any]:
        """Return what the decoder wants to know of images, by its own names."""
        seen = self.network.model.get_image_embeddings(pixels)
        if isinstance(seen, tuple):  # SAM-HQ also looks at early layers.
            return dict(zip(("image_embeddings", "intermediate_embeddings"), seen, strict=True))
        return {"image_embeddings": seen}

    def _decoded(self, seen: dict[str, Any], prepared: dict[str, Tensor]) -> Masks:
        """Decode the boxes of one image, some at a time, and enlarge the masks to its size."""
        import torch

        # Not in the model's dtype: in bfloat16 a corner could be two pixels off.
        boxes_xyxy = prepared["input_boxes"].to(self.network.device)
        said = [
            self.network.model(
                **seen, input_boxes=some[None], multimask_output=self.config.multimask
            )
            for some in torch.split(boxes_xyxy, self.config.boxes_at_once)
        ]
        iou, best = exact(torch.cat([one.iou_scores[0] for one in said])).max(dim=1)
        logits = torch.cat([one.pred_masks[0] for one in said])[range(len(best)), best]
        masks = Masks(runs=[], iou=iou.clamp(0, 1).tolist(), stability=[])
        pixels = max(int(prepared["original_sizes"].prod()), prepared["pixel_values"][0].numel())
        for some in torch.split(exact(logits), max(1, _PIXELS_AT_ONCE // pixels)):
            enlarged = self._enlarged(some, prepared)
            masks.runs.extend(run_lengths(enlarged > 0))
            masks.stability.extend(stability(enlarged).tolist())
        return masks

    def _enlarged(self, logits: Tensor, prepared: dict[str, Tensor]) -> Tensor:
        """Return logits in the size of the image, without what was padded."""
        sizes = {name: prepared[name][None] for name in _SIZES if name in prepared}
        (enlarged,) = self.network.processor.post_process_masks(
            [logits[:, None]], binarize=False, **sizes
        )
        return enlarged[:, 0]


def prompts_of(sample: Sample, tasks: Sequence[str]) -> Prompts:
    """Return the boxes of some tasks, clipped to the image; those with nothing inside are gone."""
    parents = [one for one in sample.of(*tasks) if one.box_xyxy]
    boxes_xyxy = np.array([one.box_xyxy for one in parents], dtype=np.float64).reshape(-1, 4)
    boxes_xyxy = boxes_xyxy.clip(0, np.tile((sample.width, sample.height), 2))
    inside = (boxes_xyxy[:, 2:] > boxes_xyxy[:, :2]).all(axis=1)
    distinct, place = np.unique(boxes_xyxy[inside], axis=0, return_inverse=True)
    return Prompts(
        parents=tuple(parents[row] for row in np.flatnonzero(inside)),
        place=tuple(place.ravel().tolist()),
        boxes_xyxy=distinct,
    )


def _of_one(seen: Any, row: int) -> Any:
    """Return what was seen of one image: of each tensor its row, as a batch of one."""
    if isinstance(seen, dict):
        return {name: _of_one(each, row) for name, each in seen.items()}
    if isinstance(seen, list | tuple):
        return [_of_one(each, row) for each in seen]
    return seen[row : row + 1]


def _annotations(prompts: Prompts, masks: Masks, size_hw: tuple[int, int]) -> Iterator[Annotation]:
    rles = compressed(masks.runs, size_hw)
    corners = coco_mask.toBbox(rles)
    # Not by their areas: pycocotools cannot count those of more than 255 masks.
    has_pixels = (corners[:, 2:] > 0).all(axis=1)
    corners[:, 2:] += corners[:, :2]
    for parent, place in zip(prompts.parents, prompts.place, strict=True):
        if has_pixels[place]:
            yield Annotation(
                kind="region",
                task=SAID_OF[parent.task],
                label=parent.label,
                text=parent.text,
                language=parent.language,
                box_xyxy=tuple(corners[place].tolist()),
                mask_rle=MaskRLE(size=size_hw, counts=rles[place]["counts"].decode("ascii")),
                score=masks.iou[place],
                support=masks.stability[place],
                parent_id=parent.id,
            )
