"""The config of a refinement: a run, and how it is refined.

The stages of round 0 are those of the run. From round 1 on, each merge stage (`use: merge`) also
reads the students that produce its tasks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from florilegium.engine.core.errors import ConfigError, nearest
from florilegium.engine.planning.config import RunConfig, validated
from florilegium.engine.storage.folder import Folder
from florilegium.engine.untrusted.names import check_name
from florilegium.pipelines.dataset.lineage import AUDIT, TRUTH
from florilegium.pipelines.training.config import TrainConfig


class RefineOptions(BaseModel):
    """How a dataset is refined."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rounds: int = Field(default=2, ge=0)
    """Maximum number of rounds after round 0; with 0 no student is trained."""
    folds: int = Field(default=2, ge=1)
    """Students per round: each is trained without one fold of the samples and relabels that fold.
    With 1, one student relabels what it was trained on."""
    students: dict[str, dict[str, Any]] = Field(min_length=1)
    """Stages by name that run the trained checkpoints: the options of `florence2` without `model`.
    One for each set of tasks that reads the same stages."""
    students_at_once: int = Field(default=1, ge=1)
    """Students that are trained in parallel; each takes the workers that `train` names."""
    train: TrainConfig
    """How a student is trained; round 1 starts from its `model`."""
    fine_tune: dict[str, dict[str, Any]] = {}
    """Students with weights of their own: those of the round's student, trained further. By the
    name of the student, `tasks` and what else differs from `train`. For labels that a share of the
    samples has, such as long captions (paper, section 4.3), `sample_share` names that share."""
    is_warm: bool = True
    """Later rounds start from the students of the promoted round, fold by fold."""
    audit: str = ""
    """An audit file, the folder `corrections` of a run, or `truth` if the ground truth of the
    source is known; without one, merges go by the votes alone."""
    audit_samples: int = Field(default=200, ge=1)
    """Samples that are audited against a known truth; quality is measured on the others."""
    margin: float = Field(default=0.005, ge=0, le=1)
    """The loop stops when the mean quality gains less than this in a round, 0..1."""
    measure: Literal["auto", "truth", "audit", "agreement"] = "auto"
    """What quality is measured against; `auto` takes the first of the three that is available."""

    @field_validator("students")
    @classmethod
    def _are_names(cls, students: dict[str, Any]) -> dict[str, Any]:
        for name in students:
            check_name(name)
        return students

    @model_validator(mode="after")
    def _can_be_tuned(self) -> Self:
        for name, options in self.fine_tune.items():
            if name not in self.students:
                raise ValueError(f"fine_tune.{name} is no student, {nearest(name, self.students)}")
            if "tasks" not in options or "model" in options:
                raise ValueError(
                    f"fine_tune.{name} starts from the round's student and needs tasks of its own: "
                    f"give `tasks`, and no `model`"
                )
            try:
                self.tuning(name)
            except ConfigError as error:
                raise ValueError(str(error)) from error
        return self

    def tuning(self, student: str) -> TrainConfig:
        """Return how a student of `fine_tune` is trained further.

        Raises:
            ConfigError: its options are wrong.
        """
        values = self.train.model_dump(exclude={"tasks", "custom"}) | self.fine_tune[student]
        return validated(TrainConfig, values, where=f"fine_tune.{student}")

    @field_validator("audit", mode="before", json_schema_input_type=str | None)
    @classmethod
    def _no_audit(cls, audit: Any) -> Any:
        return "" if audit is None else audit

    @model_validator(mode="after")
    def _go_together(self) -> Self:
        if self.measure == AUDIT and self.audit in ("", TRUTH):
            raise ValueError("measure: audit needs an audit file: set `audit` to its path")
        if self.students_at_once > 1 and self.train.workers == 0:
            raise ValueError(
                f"students_at_once is {self.students_at_once}, but train.workers: 0 trains in this "
                f"process, where students would share one seed: set train.workers: 1"
            )
        return self


class RefineConfig(RunConfig):
    """A run that is refined."""

    refine: RefineOptions
    """How it is refined."""

    @model_validator(mode="before")
    @classmethod
    def _is_not_refreshed(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and "refresh" in values:
            raise ValueError(
                "a refinement has no `refresh`: take the section out; `refine` takes in what is "
                "new in the source itself"
            )
        return values

    @model_validator(mode="after")
    def _has_specialists(self) -> Self:
        if not self.specialists:
            raise ValueError(
                "a refinement needs `specialists`, whose annotations its students learn first: "
                "give at least 1; `florilegium build` without `refine` needs none"
            )
        return self

    def refuse_remote_output(self) -> None:
        """Refuse an output where students cannot be trained.

        Raises:
            ConfigError: it is not on a mounted file system.
        """
        if not Folder(self.output).is_local:
            raise ConfigError(
                f"output = {self.output!r}: students are trained on a mounted file system that "
                f"every machine of the cluster can read: choose a folder there"
            )
