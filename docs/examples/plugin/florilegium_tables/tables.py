"""Tables in documents, found by a Table Transformer of `transformers`."""

from collections.abc import Sequence
from hashlib import file_digest
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator

from florilegium import CONTENT, RUNTIME, Annotation, Sample, Specialist, StageConfig

WEIGHTS = "model.safetensors"


class DocumentTablesConfig(StageConfig):
    """Options of `document_tables`."""

    model: Annotated[str, CONTENT]
    """The folder of the checkpoint, absolute or relative to the current folder."""
    least_score: float = Field(default=0.5, ge=0, lt=1)
    """Score that tables must exceed, 0..1."""
    threads: Annotated[int, RUNTIME, Field(ge=1)] = 1
    """Threads of torch on the CPU."""

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

    def __init__(self, config: DocumentTablesConfig) -> None:
        super().__init__(config)
        self._folder = Path(config.model)
        self._device = "cuda" if config.num_gpus else "cpu"

    @property
    def model(self) -> str:
        """The name of the folder, which stands beside each annotation."""
        return self._folder.absolute().name

    def revision(self) -> str:
        """Return the digest of the weights: other weights give other answers."""
        with (self._folder / WEIGHTS).open("rb") as weights:
            return file_digest(weights, "sha256").hexdigest()[:12]

    def load(self) -> None:
        """Load the weights. Imports are here, so that the command line starts at once."""
        import torch
        from transformers import AutoImageProcessor, AutoModelForObjectDetection

        torch.set_num_threads(self.config.threads)
        own: Any = {"local_files_only": True}
        self._processor = AutoImageProcessor.from_pretrained(self._folder, **own)
        network = AutoModelForObjectDetection.from_pretrained(
            self._folder, use_safetensors=True, **own
        )
        self._network = network.to(self._device).eval()

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        """Detect tables; each image alone, so that no answer depends on another image."""
        return [self._tables(sample) for sample in samples]

    def _tables(self, sample: Sample) -> list[Annotation]:
        import torch

        with torch.inference_mode():
            inputs = self._processor(
                images=sample.image,
                input_data_format="channels_last",  # else an image 1 or 3 pixels high is unclear
                return_tensors="pt",
            ).to(self._device)
            (found,) = self._processor.post_process_object_detection(
                self._network(**inputs),
                threshold=self.config.least_score,
                target_sizes=[(sample.height, sample.width)],
            )
        boxes = found["boxes"].cpu().clamp(min=0)
        boxes = boxes.minimum(torch.tensor([sample.width, sample.height] * 2))
        columns = (boxes, found["scores"], found["labels"])
        return [
            Annotation(
                kind="region",
                task="object_detection",
                label=self._network.config.id2label[name],
                box_xyxy=tuple(box),
                score=score,
            )
            for box, score, name in zip(*(one.tolist() for one in columns), strict=True)
            if box[0] < box[2] and box[1] < box[3]
        ]
