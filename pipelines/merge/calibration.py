"""A calibration: how a score of each voter becomes a probability, per task, as data.

It is written as JSON by `refine` and read by the merge stage. This module fits nothing: it only
applies the fitted coefficients.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from florilegium.engine.core.errors import ConfigError
from florilegium.engine.core.sample import digest_of
from florilegium.engine.planning.config import validated
from florilegium.engine.storage.documents import in_one_line, parse_json
from florilegium.engine.storage.folder import Folder

FORMAT_VERSION = 1
"""Raise it when the same file would mean something else."""

DECIMALS = 6
"""Digits of the stored coefficients."""
_LEAST = 1e-4
"""Probabilities are clipped to this distance from 0 and 1, so that log-odds stay within 9.3."""
_MAX_LOG_ODDS = 30
"""Log-odds are clipped here, so that `exp` does not overflow; the probability is 1 up to 1e-13."""

Number = Annotated[float, AfterValidator(lambda value: round(value, DECIMALS))]
Share = Annotated[Number, Field(ge=0, le=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Interval(_Part):
    """A share of right ones with its 95% Wilson interval; `None` where nothing was audited."""

    right: int = Field(default=0, ge=0)
    """Audited and right."""
    audited: int = Field(default=0, ge=0)
    """Audited: right or wrong."""
    share: Share | None = None
    """`right / audited`."""
    low: Share | None = None
    """Lower end of the interval."""
    high: Share | None = None
    """Upper end of the interval."""


class Voter(_Part):
    """The calibration of one voter: P(right) = sigmoid(slope x logit(score) + intercept)."""

    slope: Number
    """Coefficient of the score's log-odds, 0 or more; 0: only the voter's precision counts."""
    intercept: Number
    """Log-odds of an annotation whose score is one half."""
    without_score: Number
    """Log-odds of an annotation without a score."""
    weight: Annotated[Number, Field(gt=0)] = 1.0
    """How exact its regions are: inverse variance of its edges, relative to other voters."""
    precision: Interval = Interval()
    """How many of its audited annotations are right."""

    def probability(self, score: np.ndarray) -> np.ndarray:
        """Return P(right) for scores in 0..1, NaN where there is none, shape (n,)."""
        with_score = self.slope * logit(np.nan_to_num(score, nan=0.5)) + self.intercept
        return sigmoid(np.where(np.isnan(score), self.without_score, with_score))


class Fusion(_Part):
    """A logistic regression on the features of a hypothesis, from all voters together."""

    weights: Mapping[str, Number]
    """Coefficient of each feature, by name."""
    intercept: Number
    """Log-odds where every feature is 0."""
    names: tuple[str, ...] = ()
    """Labels that have features of their own."""

    def probability(self, names: Sequence[str], features: np.ndarray) -> np.ndarray:
        """Return P(right), shape (n,), of the features with these names, (n, len(names)).

        Raises:
            ConfigError: the calibration was fitted on other features.
        """
        if set(names) != set(self.weights):
            unknown = min(set(names) ^ set(self.weights))
            raise ConfigError(f"the calibration and this version differ in {unknown!r}: fit again")
        # Not a matrix product: its last digits would depend on how many rows there are.
        weights = np.array([self.weights[name] for name in names])
        return sigmoid((features * weights).sum(axis=1) + self.intercept)


class TaskCalibration(_Part):
    """What was fitted to the audit for one task."""

    voters: Mapping[str, Voter]
    """By the name of the stage."""
    fusion: Fusion | None = None
    """`None` where the audit was too small; `reason` is why."""
    reason: str = ""
    """`no_audit`, `too_few_audited` or `one_class_only`; empty where all voters are fused."""
    least_confidence: Share = 0.5
    """Merged annotations below this probability are dropped: half of the best F1 in the audit."""
    precision: Interval = Interval()
    """Merged annotations that are right, cross-validated."""
    recall: Share | None = None
    """Share of the objects that any voter found that the merged annotations keep."""
    ece: Share | None = None
    """Expected calibration error of the merged confidences, cross-validated, 0..1."""


class Calibration(_Part):
    """What was fitted to an audit: per task, per voter, and for all voters together."""

    format: int = FORMAT_VERSION
    """Version of this format."""
    voters: tuple[str, ...]
    """Names of all stages that may vote."""
    tasks: Mapping[str, TaskCalibration]
    """The calibration of each task."""
    names: tuple[str, ...] = ()
    """Labels of objects that occur in the audited samples, sorted."""
    audited_samples: int = Field(default=0, ge=0)
    """Samples in which something was audited."""

    def to_json(self) -> str:
        """Return the calibration as JSON text, sorted keys, rounded numbers."""
        document = self.model_dump(mode="json")
        return json.dumps(document, sort_keys=True, indent=1, allow_nan=False) + "\n"

    @cached_property
    def digest(self) -> str:
        """A digest of the whole calibration, 16 hex digits."""
        return digest_of([self.to_json()])[:16]

    def save(self, folder: Folder, name: str) -> None:
        """Write it to a folder, atomically."""
        folder.publish(name, self.to_json().encode())


def read_calibration(url: str) -> Calibration:
    """Read a calibration from its JSON file, a path or an fsspec URL.

    Raises:
        ConfigError: it is not there, or it is no calibration of this version.
    """
    where = f"the calibration {url}"
    data = read_file(url)
    if data is None:
        raise ConfigError(
            f"{where} is not there: fit one from an audit, or leave `calibration` empty to merge "
            f"by agreement"
        )
    try:
        document = parse_json(data)
    except ValueError as error:
        raise ConfigError(f"{where}: {in_one_line(error)}; fit it again") from error
    calibration = validated(Calibration, document, where=where)
    if calibration.format != FORMAT_VERSION:
        raise ConfigError(
            f"{where} has format {calibration.format}, not {FORMAT_VERSION}: fit it again"
        )
    return calibration


def read_file(url: str) -> bytes | None:
    """Return the bytes of a file, a path or an fsspec URL, or `None` where there is none."""
    folder, slash, name = url.rpartition("/")
    return Folder(folder or slash or ".").read(name)


def sigmoid(log_odds: np.ndarray | float) -> Any:
    """Return the probability of log-odds."""
    return 1 / (1 + np.exp(-np.clip(log_odds, -_MAX_LOG_ODDS, _MAX_LOG_ODDS)))


def logit(probability: np.ndarray | float) -> Any:
    """Return the log-odds of a probability; 0 and 1 count as 0.0001 off."""
    clipped = np.clip(probability, _LEAST, 1 - _LEAST)
    return np.log(clipped / (1 - clipped))
