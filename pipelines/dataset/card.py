"""The dataset card: `README.md`, which also tells `datasets.load_dataset` the columns.

Without it the loader guesses columns from the first five samples and fails or loses fields. The
front matter is dumped as YAML, and what strangers wrote is plain text in the body.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from florilegium.engine.core.annotation import SOURCE
from florilegium.engine.core.columns import ANNOTATION_COLUMNS, Column
from florilegium.engine.core.counted import counted
from florilegium.engine.core.image_member import ImageKind
from florilegium.engine.results.contract import SAMPLE_COLUMNS, SHARD_COLUMNS
from florilegium.engine.results.manifest import Manifest
from florilegium.engine.results.publication import SHARDS, FileStats
from florilegium.engine.storage.folder import Folder
from florilegium.engine.untrusted.escaped import visible
from florilegium.pipelines.dataset.files import CARD

if TYPE_CHECKING:
    from jinja2 import Template

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
**Florilegium**: specialists predicted them, filters judged them. Each annotation carries its score
and its provenance; they were not checked one by one.

| task | kept | dropped |
|---|---:|---:|
{% for task, sides in totals.shown_tasks.items() -%}
| {{ task }} | {{ sides.kept }} | {{ sides.dropped }} |
{% endfor %}
| stage | model | revision | kept |
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
annotations, `txt` with the brief caption. {{ images }}
The Parquet file beside each tar has every annotation, dropped ones too, with the verdict of every
filter. `dead_letters.parquet` lists the inputs that did not become samples
({{ totals.dead_letters }} of {{ totals.inputs }}); `run.yaml` builds the dataset again.
{%- if totals.sample_drops %}

| sample filter | reason | images dropped |
|---|---|---:|
{% for name, count in totals.sample_drops.items() -%}
| {{ name.partition("/")[0] }} | {{ name.partition("/")[2] }} | {{ count }} |
{% endfor %}
{%- endif %}

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
        {"name": "json", "struct": [_feature(one) for one in SAMPLE_COLUMNS]},
        *({"name": name, "dtype": "string"} for name in ("txt", "__key__", "__url__")),
    ]
    data = DatasetCardData(
        pretty_name="An annotated image dataset",
        language=["en"],
        annotations_creators=["machine-generated" if {*totals.specialists} - {SOURCE} else "found"],
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
    return f"---\n{front}\n---\n\n{body}\n{fields_section()}\n".encode()


def fields_section() -> str:
    """Return what each field of a sample's JSON and each column of a shard's Parquet means."""
    shared = {column.name for column in (*SAMPLE_COLUMNS, *ANNOTATION_COLUMNS)}
    return "\n".join(
        [
            "## Fields\n\nOf the `json` of a sample:\n",
            *_listed(SAMPLE_COLUMNS),
            "\nOf the Parquet file, with a row for each annotation: `key`, `width` and `height` of "
            "the\nsample, the fields of the annotation, and\n",
            *_listed(column for column in SHARD_COLUMNS if column.name not in shared),
        ]
    )


def _listed(columns: Iterable[Column], depth: int = 0) -> Iterator[str]:
    """Yield a line of a list for each column, and below it those of its fields."""
    for column in columns:
        kind = _kind(column.type) + (" or null" if column.is_nullable else "")
        yield f"{'  ' * depth}- `{column.name}` ({kind}): {column.doc}"
        yield from _listed(column.fields, depth + 1)


def _kind(kind: pa.DataType) -> str:
    if pa.types.is_list(kind):
        return f"list of {_kind(kind.value_type)}"
    return "object" if pa.types.is_struct(kind) else _dtype(kind)


@cache
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
    return [f"{SHARDS}/{name}.tar" for name in manifest.shards.names]


def _feature(field: Column | pa.Field) -> dict[str, Any]:
    """Describe a column, or a field within one, the way a dataset card does."""
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
