"""The dataset card: `README.md`, which also tells `datasets.load_dataset` the columns.

Without it the loader guesses columns from the first five samples and fails or loses fields. The
front matter is dumped as YAML, and what strangers wrote is plain text in the body.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from engine.core.annotation import ANNOTATION_FIELDS
from engine.core.counted import counted
from engine.core.image_member import ImageKind
from engine.records.manifest import Manifest
from engine.records.publication import SHARDS, FileStats
from engine.safety.escaped import visible
from engine.sources.source import SOURCE
from engine.storage.folder import Folder
from pipelines.dataset.files import CARD

if TYPE_CHECKING:
    from jinja2 import Template

_SAMPLE_FIELDS = [
    pa.field("key", pa.string()),
    pa.field("sha256", pa.string()),
    pa.field("image_sha256", pa.string()),
    pa.field("width", pa.int64()),
    pa.field("height", pa.int64()),
    pa.field("orientation", pa.int64()),
    pa.field("source", pa.string()),
    pa.field("metadata", pa.string()),
    pa.field("annotations", pa.list_(pa.struct(ANNOTATION_FIELDS))),
]
_IMAGES: dict[ImageKind, str] = {
    "jpg": "Images are upright JPEGs; an upright baseline JPEG of the source has kept its bytes.",
    "png": "Images are upright PNGs.",
    "original": "Images have the bytes of the source: apply their EXIF orientation.",
}
_MARKS = re.compile(r"[\\`*{}\[\]()#+!|~:@$^=]|(?<!\w)_|_(?!\w)|(?<=www)\.")
"""What Markdown takes for markup, or makes a link of."""
_CLAIM = re.compile(
    r"^\|.*|^\d+ images? with$|^\d+ machine-made .*|\(\d+ of \d+\)|[\w./-]+\.tar\b", re.M
)
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_TEMPLATE = """\
# An annotated image dataset

{{ counted(totals.samples, "image") }} with
{{ counted(totals.annotations_kept, "machine-made annotation") }}, built by
**Florilegium**: specialists said them, filters judged them. Each annotation carries its score and
its provenance; nobody has checked them one by one.

| task | kept | dropped |
|---|---:|---:|
{% for task, sides in totals.shown_tasks.items() -%}
| {{ task }} | {{ sides.kept }} | {{ sides.dropped }} |
{% endfor %}
| who said it | model | revision | kept |
|---|---|---|---:|
{% for who in speakers -%}
| {{ who.name }} | {{ who.model }} | {{ who.revision }} | {{ who.kept }} |
{% endfor %}
## Load it

```python
from datasets import load_dataset
dataset = load_dataset("PATH", split="train")
```

The tars that `manifest.json` names are WebDataset shards: the image, `json` with all kept
annotations, `txt` with the brief caption. {{ images }} Boxes are absolute pixels of the upright
image. In `json`, `sha256` is the digest of the source's bytes, `image_sha256` that of the image in
the tar.
The Parquet file beside each tar has every annotation, dropped ones too, with the verdict of every
filter. `dead_letters.parquet` lists the inputs that did not become samples
({{ totals.dead_letters }} of {{ totals.inputs }}); `run.yaml` builds the dataset again.

The images belong to their owners: this card grants no licence for them.
"""


def write_card(output: Folder, manifest: Manifest) -> FileStats:
    """Publish the dataset card; return what it is."""
    content = card_of(manifest)
    output.publish(CARD, content)
    return FileStats.of(memoryview(content))


def card_of(manifest: Manifest) -> bytes:
    """Return the content of the dataset card."""
    from huggingface_hub import DatasetCardData

    totals = manifest.totals
    columns = [
        *({"name": name, "dtype": "image"} for name in totals.extensions),
        {"name": "json", "struct": [_feature(field) for field in _SAMPLE_FIELDS]},
        *({"name": name, "dtype": "string"} for name in ("txt", "__key__", "__url__")),
    ]
    data = DatasetCardData(
        pretty_name="An annotated image dataset",
        language=["en"],
        annotations_creators=["machine-generated"],
        task_categories=["image-to-text", "object-detection", "image-segmentation"],
        size_categories=[next((name for size, name in _SIZES if totals.samples < size), "n>1M")],
        tags=["webdataset", "florilegium"],
        configs=[
            {
                "config_name": "default",
                "data_files": [{"split": "train", "path": _tars(manifest)}],
            }
        ],
        dataset_info={"features": columns},
    )
    front = data.to_yaml(line_break="\n")
    body = _template().render(
        totals=totals,
        speakers=_speakers(manifest),
        images=_IMAGES[manifest.images],
        counted=counted,
    )
    return f"---\n{front}\n---\n\n{body}\n".encode()


def _template() -> Template:
    """Return the text below the front matter; every value that it prints is plain text there."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(undefined=StrictUndefined, finalize=markdown)
    return environment.from_string(_TEMPLATE)


def markdown(value: Any) -> Any:
    """Write a text so that Markdown shows it as it is, on one line, within a cell of a table."""
    if not isinstance(value, str):
        return value
    text = _MARKS.sub(r"\\\g<0>", visible(value))
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def claims_of(card: bytes) -> list[str]:
    """Return what a card says that can be counted again: rows of its tables, sums and shards."""
    return _CLAIM.findall(card.decode("utf-8", "replace"))


def _tars(manifest: Manifest) -> list[str]:
    """Name the tars of this version one by one: others may lie beside them."""
    return [f"{SHARDS}/{shard.name}.tar" for shard in manifest.shards]


def _feature(field: pa.Field) -> dict[str, Any]:
    """Describe an Arrow field the way a dataset card does."""
    return {"name": field.name, **_feature_type(field.type)}


def _feature_type(kind: pa.DataType) -> dict[str, Any]:
    if pa.types.is_struct(kind):
        return {"struct": [_feature(field) for field in kind]}
    if pa.types.is_list(kind):
        value = kind.value_type
        if pa.types.is_struct(value):
            return {"list": [_feature(field) for field in value]}
        return {"list": _dtype(value)}
    return {"dtype": _dtype(kind)}


def _dtype(kind: pa.DataType) -> str:
    return {"double": "float64"}.get(str(kind), str(kind))


def _speakers(manifest: Manifest) -> list[dict[str, Any]]:
    by_name = {stage["name"]: stage for stage in manifest.stages.values()}
    return [
        {
            "name": name,
            "model": by_name.get(name, {}).get("model", ""),
            "revision": by_name.get(name, {}).get("revision", ""),
            "kept": sides["kept"],
        }
        for name, sides in manifest.totals.specialists.items()
        if name in by_name or name == SOURCE
    ]
