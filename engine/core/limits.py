"""Limits on what an input from outside may cost.

One table, `limits` in a run's config. An input beyond a limit becomes a dead letter, or its label
is left out; the message has the number and the name of the limit. The run goes on.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from florilegium.engine.core.image.header import MAX_BYTES, MAX_PIXELS

PILLOW_MAX_PIXELS = 178_956_970
"""Pixels of an image, at most, whatever the config: Pillow refuses more."""
_NOT_OF_READINGS = frozenset({"stage_seconds", "load_seconds", "shard_seconds", "worker_memory_mb"})


class Limits(BaseModel):
    """Limits on one file, one archive, one shard, one answer and one call."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_pixels: int = Field(default=MAX_PIXELS, ge=1, le=PILLOW_MAX_PIXELS)
    """Pixels of an image, checked before it is decoded; Pillow refuses more."""
    max_file_bytes: int = Field(default=MAX_BYTES, ge=1)
    """Bytes of an image: a file, a member of an archive or a value in Parquet."""
    max_label_bytes: int = Field(default=16 << 20, ge=1)
    """Bytes of the captions, JSON and other small texts that belong to one image; of a page of HTML
    or Markdown, images within it included."""
    max_sheet_bytes: int = Field(default=256 << 20, ge=1)
    """Bytes of a sheet of labels (`metadata.csv`, `.jsonl`, `.parquet`), on disk and unpacked; a
    sheet has at most one line, and names one image, for each 64 of them."""
    max_shard_bytes: int = Field(default=4 << 30, ge=1)
    """Bytes of the images of one shard, which are in memory together."""
    max_archive_bytes: int = Field(default=64 << 30, ge=1)
    """Bytes of an archive once unpacked."""
    max_archive_members: int = Field(default=250_000, ge=1)
    """Files in an archive."""
    max_compression_ratio: float = Field(default=100, gt=1)
    """Unpacked bytes of an archive, or of a row group in Parquet, for each of its compressed bytes,
    beyond its first MiB."""
    max_json_depth: int = Field(default=64, ge=1)
    """Depth of nested lists and objects in the JSON of a label."""
    max_json_values: int = Field(default=500_000, ge=1)
    """Values in the JSON of a label, nested ones included."""
    max_caption_characters: int = Field(default=100_000, ge=1)
    """Characters of a caption or another text, of the source or of a stage."""
    max_annotations: int = Field(default=10_000, ge=1)
    """Annotations of one image by one stage, or by the source."""
    file_seconds: float = Field(default=300, gt=0)
    """Seconds to read one input and to decode it, each."""
    stage_seconds: float = Field(default=1800, gt=0)
    """Seconds for one call of a stage, unless its own `call_seconds` says otherwise; a batch that
    takes longer is asked again image by image. Of a service, seconds for each image."""
    load_seconds: float = Field(default=3600, gt=0)
    """Seconds to load the model of one stage."""
    shard_seconds: float = Field(default=7200, gt=0)
    """Seconds to judge and write one shard."""
    worker_memory_mb: int | None = Field(default=None, ge=64)
    """Memory of one worker process in MiB, shared memory not counted; a worker that takes more is
    replaced. By default the memory of the machine."""

    @property
    def of_readings(self) -> str:
        """The limits that affect what is read from a source, as text."""
        return self.model_dump_json(exclude=set(_NOT_OF_READINGS))
