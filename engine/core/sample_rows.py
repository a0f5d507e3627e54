"""What a sample filter measured on a sample, as its layers hold it: one row for each sample."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from florilegium.engine.core.annotation import Provenance
from florilegium.engine.core.errors import SampleError
from florilegium.engine.core.limits import Limits
from florilegium.engine.core.rows import INVALID_OUTPUT, TEXT_TOO_LONG, Rows
from florilegium.engine.core.sample import Sample

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
Value = float | str
"""A measured number, or a short text such as a hash."""


@dataclass(frozen=True, slots=True)
class SampleMeasurement:
    """Numbers and texts that a sample filter measured on one sample, by name."""

    values: Mapping[str, Value]


@dataclass(frozen=True)
class SampleMeasurementRows(Rows[SampleMeasurement]):
    """Measurements with these numbers and texts; not all need be there."""

    numbers: tuple[str, ...]
    texts: tuple[str, ...]

    row = SampleMeasurement

    @property
    def fields(self) -> Sequence[pa.Field]:
        numbers = [pa.field(name, pa.float64()) for name in self.numbers]
        return (*numbers, *(pa.field(name, pa.string()) for name in self.texts))

    def columns(self, rows: Sequence[SampleMeasurement]) -> dict[str, pa.Array]:
        return {
            field.name: pa.array([row.values.get(field.name) for row in rows], field.type)
            for field in self.fields
        }

    def of_table(self, table: pa.Table) -> list[SampleMeasurement]:
        names = [*self.numbers, *self.texts]
        return [
            SampleMeasurement({name: value for name, value in row.items() if value is not None})
            for row in table.select(names).to_pylist()
        ]

    def subject(self, row: SampleMeasurement) -> str:
        return ""

    def stamped(
        self,
        rows: list[SampleMeasurement],
        provenance: Provenance,
        digest: str,
        question: str = "",
    ) -> list[SampleMeasurement]:
        return rows

    def _too_many(self, count: int, sample: Sample, limits: Limits) -> str:
        return f"{count} measurements of one sample" if count > 1 else ""

    def _problem_of_rows(
        self, rows: Sequence[SampleMeasurement], sample: Sample, limits: Limits
    ) -> SampleError | None:
        for row in rows:
            values: object = row.values
            if not isinstance(values, Mapping):
                kind = type(values).__name__
                return SampleError(INVALID_OUTPUT, f"a measurement is a mapping, not {kind}")
            for name, value in values.items():
                if problem := self._problem_of(name, value, limits):
                    return problem
        return None

    def _problem_of(self, name: str, value: object, limits: Limits) -> SampleError | None:
        if name in self.texts:
            if not isinstance(value, str):
                return SampleError(INVALID_OUTPUT, f"{name} = {type(value).__name__}, not a text")
            if len(value) > limits.max_caption_characters:
                message = f"a {name} of {len(value)} characters, limits.max_caption_characters is"
                return SampleError(TEXT_TOO_LONG, f"{message} {limits.max_caption_characters}")
            if _LONE_SURROGATE.search(value):
                return SampleError(INVALID_OUTPUT, f"{name} has half of a character")
            return None
        if name not in self.numbers:
            return SampleError(INVALID_OUTPUT, f"undeclared measurement {name!r}")
        if not _is_finite(value):
            return SampleError(INVALID_OUTPUT, f"{name} is no finite number: {_shown(value)}")
        return None


def _is_finite(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that no float has
        return False


def _shown(value: object) -> str:
    is_long = isinstance(value, int) and value.bit_length() > 128  # Python refuses to write it
    return "a number beyond all floats" if is_long else f"{value!r:.40}"
