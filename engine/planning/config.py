"""A run as data: the YAML file, dotted overrides and what they mean.

Unknown keys are errors that name the nearest valid key. The options of a stage are checked by
the stage's own `Config`, in the planner: this module knows no stage.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from florilegium.engine.core.errors import ConfigError, nearest
from florilegium.engine.core.image_member import ImageKind
from florilegium.engine.core.limits import Limits
from florilegium.engine.sources.source import SourceConfig
from florilegium.engine.untrusted.credentials import refuse_credentials
from florilegium.engine.untrusted.escaped import LONGEST, cut
from florilegium.engine.untrusted.names import check_name
from florilegium.engine.untrusted.safe_yaml import MAX_DEPTH, read_yaml, read_yaml_file

ModelT = TypeVar("ModelT", bound=BaseModel)

SECTIONS = ("sample_filters", "specialists", "filters")
"""The keys of a run under which its stages stand."""


_MAX_MISTAKES = 8
"""Mistakes of a config that a message tells."""
_WANTED = {
    **dict.fromkeys(
        ("model_type", "model_attributes_type", "dict_type"), "give a mapping, a dictionary of keys"
    ),
    **dict.fromkeys(("tuple_type", "list_type"), "give a list"),
    "too_short": "give at least 1",
    "string_type": "give a text, in quotes where it looks like something else",
    "bool_parsing": "give true or false",
    **dict.fromkeys(("int_parsing", "int_type", "int_from_float"), "give a whole number"),
    **dict.fromkeys(("float_parsing", "float_type"), "give a number"),
}
"""What is wanted, by the kind of mistake."""
LAYERS = "layers"
"""The folder of layers within an output, where the config names no other."""


_LABEL = r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?"
RunnerKind = Literal["auto", "ray", "local", "in_process"]
LabelKey = Annotated[str, Field(pattern=rf"^([a-z0-9.-]+/)?{_LABEL}$")]
LabelValue = Annotated[str, Field(pattern=rf"^!?({_LABEL}|in\({_LABEL}(, ?{_LABEL})*\))$")]


class RunnerConfig(BaseModel):
    """Where the workers run and how many there are."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: RunnerKind = "auto"
    """`ray` runs a worker process per CPU and GPU stage, `local` one in all; `in_process` runs the
    same code in this process, for a debugger, without limits of time and memory. `auto` is `local`
    for at most 12 images and stages on CPUs, where nothing below is stated that only Ray does, and
    else `ray`. Neither starts a Ray of its own to judge and write at most 512 images that all
    stages have answered."""
    address: str = "local"
    """`local` starts a Ray of its own; `auto` or `ray://...` joins a running cluster."""
    workers: int | None = Field(default=None, ge=1)
    """CPU workers, at most; by default one per CPU of the cluster."""
    share: float = Field(default=1.0, gt=0, le=1)
    """The share of a cluster's CPUs and GPUs that this run may use, at most, such as 0.5."""
    max_gpus: float | None = Field(default=None, gt=0)
    """GPUs that this run may use, at most; by default its share of all."""
    label_selector: dict[LabelKey, LabelValue] = {}
    """Labels of the nodes that this run may use, by key, as Ray selects them: `spot`, `!spot`,
    `in(A100, H100)` or `!in(A100, H100)`; by default all nodes."""
    wait_for_nodes_s: float = Field(default=0, ge=0)
    """Seconds to wait for nodes where a cluster has no room for one worker of each stage, or for
    as many as the config states: an autoscaler may add them. With 0, a cluster that is too small is
    refused at once, and without GPUs their stages run on CPUs. When the last node that has room
    leaves during a run, it waits at least a minute."""
    keep_s: float = Field(default=10, ge=0)
    """Seconds after which an answer is stored, at most, while its shard is not finished: a driver
    that is killed loses younger ones. Each time costs two or three requests to the storage for each
    stage under way. Answers of services are stored at once."""
    object_store_mb: int = Field(default=512, ge=80)
    """Shared memory of a Ray that we start, in MiB: it holds the bytes of the shards in flight."""

    @property
    def is_open(self) -> bool:
        """Whether the number of images decides: the kind is `auto`, and nothing is stated that only
        Ray has, such as a number of workers."""
        default = RunnerConfig(keep_s=self.keep_s)
        return self.model_dump() == default.model_dump()

    @property
    def may_be_ray(self) -> bool:
        """Whether the workers may be those of a Ray."""
        return self.kind in ("auto", "ray")


class SourceEntry(SourceConfig):
    """A source as a run config has it: options beyond the common ones are those of its kind, and
    are checked when the kind is known."""

    model_config = ConfigDict(extra="allow")

    url: str = ""
    """As that of its kind, which may need none."""

    @model_validator(mode="after")
    def _names_something(self) -> SourceEntry:
        if not self.url and self.kind == "auto":
            raise ValueError("give a `url`, or a `kind` that needs none")
        return self


class RunConfig(BaseModel):
    """A dataset to build: its source, specialists, filters and output."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    source: tuple[SourceEntry, ...] = Field(min_length=1)
    """A URL, a mapping with `url` or `kind`, or a list of either."""
    output: str
    """Folder of the finished dataset; an fsspec URL or a path."""
    shard_size: int = Field(default=256, ge=1)
    """Images per shard, except where an input tar is a shard of its own."""
    layers: str | None = None
    """Folder of the layers, the cached answers of all stages; by default `layers` in the output."""
    runner: RunnerConfig = RunnerConfig()
    """`auto`, `ray`, `local`, `in_process`, or a mapping."""
    sample_filters: dict[str, dict[str, Any]] = {}
    """Stages that judge whole samples, by name, in the order in which they judge, those that read
    annotations last. What they drop is no sample of the dataset, and no other stage is asked about
    it."""
    specialists: dict[str, dict[str, Any]] = {}
    """Stages that say something, by name. `use` names the class (by default the stage's name),
    `reads` the stages to read (by default all that produce what it reads), `sample_share` the share
    of the images that it is asked about (by default 1, all). None, where filters are to judge the
    labels of the source alone."""
    filters: dict[str, dict[str, Any]] = {}
    """Stages that judge, by name, in the order in which they judge."""
    enrich: Literal["kept", "all"] = "kept"
    """What stages that answer about annotations one by one (crops, grounding, masks) are asked
    about: `kept`, what passed the filters that can judge before them, or `all`."""
    limits: Limits = Limits()
    """What one file, archive, shard, answer and call may cost."""
    images: ImageKind = "jpg"
    """`jpg`: upright JPEG images, each readable by Pillow; upright baseline JPEGs of the source
    keep their bytes. `png`: the same without loss. `original`: the source's bytes as they are."""
    keep_versions: int = Field(default=1, ge=1)
    """Finished versions of the dataset whose shards are kept, the current one included."""
    keep_days: float | None = Field(default=None, ge=0)
    """Versions that were replaced less than so many days ago are kept, too, by the clock of the
    storage; by default only `keep_versions` counts."""
    takedown: str | None = None
    """A file that lists images to be taken down, by key, digest or URL: they become no samples, and
    what was made of them is deleted. A path or an fsspec URL; one entry on each line, as
    `key:KEY`, `sha256:DIGEST` or `url:URL`."""
    max_dead_letter_share: float = Field(default=0.1, ge=0, le=1)
    """The command fails when more of the inputs than this share are lost; 0 allows none."""
    plugin_path: tuple[str, ...] = ()
    """Folders that are searched for the modules that `use` and `kind` name, after all that is
    installed; `.` is the one you stand in."""
    allow_random_weights: bool = False
    """Whether stages may run whose annotations are worth nothing, those of models with random
    weights; for measuring speed."""

    @property
    def layers_url(self) -> str:
        """Where the layers lie: in the output, unless the config says otherwise."""
        return self.layers or f"{self.output}/{LAYERS}"

    @model_validator(mode="before")
    @classmethod
    def _as_read(cls, values: Any) -> Any:
        if isinstance(values, Mapping):
            refuse_credentials(values)
            if "max_pixels" in values:
                raise ValueError(
                    f"the key 'max_pixels' stands among the limits now: "
                    f"write `limits: {{max_pixels: {values['max_pixels']!r:.20}}}`"
                )
            if "allow_caveats" in values:
                raise ValueError("the key 'allow_caveats' is now called 'allow_random_weights'")
        return values

    @model_validator(mode="after")
    def _has_stages(self) -> Self:
        if not (self.sample_filters or self.specialists or self.filters):
            raise ValueError(
                "there are no stages: give at least 1 under `specialists`, or under `filters` "
                "where labels of the source are all that is to be judged"
            )
        return self

    @field_validator("runner", mode="before", json_schema_input_type=RunnerKind | RunnerConfig)
    @classmethod
    def _runner(cls, value: Any) -> Any:
        return {"kind": value} if isinstance(value, str) else value

    @field_validator(
        "source",
        mode="before",
        json_schema_input_type=str | SourceEntry | tuple[str | SourceEntry, ...],
    )
    @classmethod
    def _sources(cls, value: Any) -> Any:
        entries = value if isinstance(value, list | tuple) else [value]
        if not all(isinstance(entry, str | Mapping | SourceEntry) for entry in entries):
            raise ValueError("give a URL or a path, a mapping with `url`, or a list of those")
        return [{"url": entry} if isinstance(entry, str) else entry for entry in entries]

    @field_validator("plugin_path", mode="before", json_schema_input_type=str | tuple[str, ...])
    @classmethod
    def _folders(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator(*SECTIONS, mode="before")
    @classmethod
    def _options(cls, value: Any) -> Any:
        if value is None:  # a heading with nothing under it
            return {}
        if not isinstance(value, Mapping):
            return value
        for name in value:
            check_name(name)
        return {name: {} if options is None else options for name, options in value.items()}


def load_document(
    path: Path | None,
    *,
    overrides: Sequence[str] = (),
    changes: Mapping[str, Any] | None = None,
    plan: Path | None = None,
) -> dict[str, Any]:
    """Read a YAML mapping, apply top-level `changes`, a `plan` of workers, then dotted overrides.
    Without a `path` the mapping is empty.

    `filters.nms=null` as an override takes the stage away, and so with any mapping; `nms:` with
    nothing after it in a file is the stage with its defaults.

    Raises:
        ConfigError: the file cannot be read, is no mapping, or an override is not understood.
    """
    document = read_yaml_file(path) if path else {}
    if not isinstance(document, dict):
        raise ConfigError(f"{path} must hold a mapping; `florilegium configs` lists examples")
    document.update(changes or {})
    if isinstance(document.get("runner"), str):
        document["runner"] = {"kind": document["runner"]}
    if plan is not None:
        _lay_over(document, load_document(plan))
    for override in overrides:
        _override(document, override)
    return document


def validated(model: type[ModelT], values: Any, *, where: str) -> ModelT:
    """Check values against a pydantic model; an error names the key, the value and the cure."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        details = error.errors(include_url=False)
        if any(detail["type"] != "too_short" for detail in details):  # what is wrong in it tells
            details = [detail for detail in details if detail["type"] != "too_short"]
        lines = list(
            _without_repeated_lists(_explain(model, one) for one in details[:_MAX_MISTAKES])
        )
        if len(details) > _MAX_MISTAKES:
            lines.append(f"and {len(details) - _MAX_MISTAKES} more mistakes")
        raise ConfigError(f"{where}: " + "; ".join(lines)) from None


def _without_repeated_lists(lines: Iterable[str]) -> Iterator[str]:
    """Yield mistakes; which keys are valid stands in the first of those with the same ones."""
    shown: set[str] = set()
    for line in lines:
        mistake, _, valid = line.partition(", valid: ")
        yield mistake if valid and valid in shown else line
        shown.add(valid)


def _explain(model: type[BaseModel], detail: Any) -> str:
    key = ".".join(str(part) for part in detail["loc"])
    quoted = cut(key)
    key = quoted[1:-1] if len(key) <= LONGEST else quoted
    if detail["type"] == "extra_forbidden":
        owner = _model_at(model, detail["loc"][:-1])
        return f"unknown key {quoted}, {nearest(str(detail['loc'][-1]), owner.model_fields)}"
    if detail["type"] == "missing":
        return f"the key {quoted} is missing"
    message = _WANTED.get(detail["type"]) or detail["msg"].removeprefix("Value error, ")
    message = message.replace("Input should", "it should")
    if isinstance(detail["input"], Mapping):  # what is wrong in it, the message says
        return f"{key}: {message}" if key else message
    return f"{key or 'config'} = {cut(detail['input'])}: {message}"


def _model_at(model: type[BaseModel], location: Sequence[Any]) -> type[BaseModel]:
    """Follow a location into nested models, through tuples and mappings."""
    for part in location:
        if not isinstance(part, str) or part not in model.model_fields:
            continue
        annotation = model.model_fields[part].annotation
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        for candidate in candidates:
            if isinstance(candidate, type) and issubclass(candidate, BaseModel):
                model = candidate
    return model


def _lay_over(document: dict[str, Any], other: Mapping[str, Any]) -> None:
    """Put values in their places, deep in the mappings that both have."""
    for key, value in other.items():
        inner = document.get(key)
        if isinstance(value, Mapping) and (inner is None or isinstance(inner, dict)):
            document[key] = dict(inner or {})
            _lay_over(document[key], value)
        else:
            document[key] = value


def _override(document: dict[str, Any], override: str) -> None:
    path, separator, text = override.partition("=")
    shown = cut(override)
    *parents, last = path.strip().split(".")
    if not separator or not last or len(parents) > MAX_DEPTH:
        raise ConfigError(f"the override {shown} is not of the form a.b=c")
    place = document
    for parent in parents:
        inner = place.get(parent)
        if inner is None:
            inner = place[parent] = {}
        if not isinstance(inner, dict):
            raise ConfigError(f"the override {shown} goes through {cut(parent)}, a plain value")
        place = inner
    value = read_yaml(text.encode("utf-8", "replace"), where=f"the value of the override {shown}")
    is_stage = len(parents) == 1 and parents[0] in SECTIONS
    if value is None and is_stage and last not in place:
        raise ConfigError(
            f"the override {shown} switches off a stage that is not there; {nearest(last, place)}"
        )
    if value is None and (is_stage or isinstance(place.get(last), dict)):
        del place[last]
    else:
        place[last] = value
