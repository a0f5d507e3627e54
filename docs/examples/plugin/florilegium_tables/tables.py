"""Tables in documents, found by a Table Transformer of `transformers`."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator

from florilegium import CONTENT, Annotation, Sample, Specialist, StageConfig

WEIGHTS = "model.safetensors"


class DocumentTablesConfig(StageConfig):
    """Options of `document_tables`."""

    model: Annotated[str, CONTENT]
    """The folder of the checkpoint. Its weights count, not its name: see `revision`."""
    least_score: float = Field(default=0.5, ge=0, lt=1)
    """Score that tables must exceed, 0..1."""

    @field_validator("model")
    @classmethod
    def _has_weights(cls, model: str) -> str:
        if not (Path(model) / WEIGHTS).is_file():
            raise ValueError(
                f"the folder has no {WEIGHTS}: fetch it by "
                f"`hf download microsoft/table-transformer-detection --local-dir {model}`"
            )
        return model


class DocumentTables(Specialist[DocumentTablesConfig]):
    """Boxes of tables, with the class names of the checkpoint ("table", "table rotated")."""

    Config = DocumentTablesConfig
    produces = ("object_detection",)

    @property
    def model(self) -> str:
        return Path(self.config.model).name

    def revision(self) -> str:
        """Return the digest of the weights: other weights give other answers."""
        with (Path(self.config.model) / WEIGHTS).open("rb") as weights:
            digest = sha256()
            while block := weights.read(2**20):
                digest.update(block)
        return digest.hexdigest()[:12]

    def load(self) -> None:
        """Load the weights. Imports are here, so that the command line starts at once."""
        from transformers import AutoImageProcessor, AutoModelForObjectDetection

        own: Any = {"local_files_only": True}
        self.processor = AutoImageProcessor.from_pretrained(self.config.model, **own)
        self.network = AutoModelForObjectDetection.from_pretrained(
            self.config.model, use_safetensors=True, **own
        )
        self.network.eval()

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        """Detect tables; each image alone, so that no answer depends on another image."""
        return [self._tables(sample) for sample in samples]

    def _tables(self, sample: Sample) -> list[Annotation]:
        import torch

        with torch.inference_mode():
            inputs = self.processor(
                images=sample.image,
                input_data_format="channels_last",  # else an image 1 or 3 pixels high is unclear
                return_tensors="pt",
            )
            (found,) = self.processor.post_process_object_detection(
                self.network(**inputs),
                threshold=self.config.least_score,
                target_sizes=[(sample.height, sample.width)],
            )
        boxes = found["boxes"].clamp(min=0)
        boxes = boxes.minimum(torch.tensor([sample.width, sample.height] * 2)).tolist()
        return [
            Annotation(
                kind="region",
                task="object_detection",
                label=self.network.config.id2label[name],
                box_xyxy=tuple(box),
                score=score,
            )
            for box, score, name in zip(
                boxes, found["scores"].tolist(), found["labels"].tolist(), strict=True
            )
            if box[0] < box[2] and box[1] < box[3]
        ]
