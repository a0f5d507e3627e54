"""The section `refresh` of a config: limits that hold a version back, and a hook.

`build` reads such a config, too, and leaves the section alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from florilegium.engine.core.errors import ConfigError, nearest
from florilegium.engine.core.tasks import TASKS
from florilegium.engine.planning.config import RunConfig, validated
from florilegium.engine.untrusted.escaped import cut
from florilegium.specialists.online.address import host_of

Outcome = Literal["published", "held_back", "nothing", "failed"]
"""How a refresh ends: a new version is current, or waits; nothing was new; or an error ended it."""
Share = Annotated[float | None, Field(ge=0, le=1)]


class RefreshLimits(BaseModel):
    """What a new version may differ from the one before; by default without limit.

    The first version has none before it, and is published.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_images: int | None = Field(default=None, ge=0)
    """Least images of the new version, those that are taken down with it included."""
    max_dropped_share: Share = None
    """Images that are gone, as a share of those before; renamed ones are not gone."""
    max_changed_share: Share = None
    """Images with other bytes under the same key, as a share of those before."""
    max_dead_letter_share_increase: Share = None
    """How much the share of inputs that became dead letters may rise. `max_dead_letter_share` of
    the run holds a version back, too."""
    max_annotation_change: Annotated[float, Field(ge=0)] | dict[str, float] | None = None
    """By how much the kept annotations per image of a task may rise or fall, as a share of those
    before: a number for every task, or one for each task by name."""
    max_drift: Share = None
    """Drift of each distribution from the version before to the new one, 0..1: Jensen-Shannon
    divergence of scores, box sizes, caption lengths and labels."""
    max_drift_of_new: Share = None
    """Drift of the annotations of samples that are not as they were, from the version before: bad
    answers about a few new images hardly move the whole."""
    min_values: int = Field(default=1000, ge=1)
    """Values that a distribution has on both sides before its drift counts: few values differ by
    chance."""
    max_money: float | None = Field(default=None, ge=0)
    """Money that may be spent for one version, in the currency of the prices."""

    @field_validator("max_annotation_change")
    @classmethod
    def _are_shares(cls, value: Any) -> Any:
        for task, share in (value if isinstance(value, Mapping) else {}).items():
            if share < 0:
                raise ValueError(f"{task}: {share:g} is below 0")
        return value

    def annotation_change(self, task: str) -> float | None:
        """Return the limit of one task."""
        limit = self.max_annotation_change
        return limit.get(task) if isinstance(limit, dict) else limit


class Hook(BaseModel):
    """A command or a web address that gets the record of each refresh, as JSON.

    Secrets come from the environment: `webhook_env` and `token_env` name variables.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    command: tuple[str, ...] = ()
    """A program and its arguments, run without a shell; the record is its standard input."""
    webhook: str = ""
    """An address without secrets; the record is sent by POST."""
    webhook_env: str = ""
    """The environment variable with the address, if the address itself is a secret."""
    token_env: str = ""
    """The environment variable with a token for the webhook, sent as `Authorization: Bearer`."""
    on: tuple[Outcome, ...] = ("published", "held_back", "failed")
    """After which outcomes it is called."""
    attempts: int = Field(default=4, ge=1, le=10)
    """Most tries; a program that ends with another code than 0 failed, too."""
    backoff_s: float = Field(default=1.0, ge=0, le=60)
    """Seconds before the second try; doubled before each further one."""
    timeout_s: float = Field(default=30.0, gt=0, le=600)
    """Seconds for one try."""
    allow_private_addresses: bool = True
    """Whether the webhook may have an address of this machine or its network."""

    @field_validator("command", mode="before", json_schema_input_type=str | tuple[str, ...])
    @classmethod
    def _one_or_more_words(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("on", mode="before", json_schema_input_type=Outcome | tuple[Outcome, ...])
    @classmethod
    def _one_or_more_outcomes(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        ways = [self.command, self.webhook, self.webhook_env]
        if sum(map(bool, ways)) != 1:
            raise ValueError("give one of `command`, `webhook` and `webhook_env`")
        if self.token_env and self.command:
            raise ValueError("token_env is for a webhook; a command reads the environment itself")
        if self.webhook:
            try:
                host_of(self.webhook, option="webhook")
            except ConfigError as error:
                raise ValueError(f"{error}; with a secret in it, use webhook_env") from error
        return self


class RefreshOptions(BaseModel):
    """How a dataset is refreshed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    limits: RefreshLimits = RefreshLimits()
    """A version beyond one of them is held back."""
    notify: tuple[Hook, ...] = ()
    """A hook, or a list of them."""

    @field_validator("notify", mode="before", json_schema_input_type=Hook | tuple[Hook, ...])
    @classmethod
    def _hooks(cls, value: Any) -> Any:
        return (value,) if isinstance(value, Mapping) else value


class RefreshConfig(RunConfig):
    """A run that is refreshed on a schedule."""

    refresh: RefreshOptions = RefreshOptions()
    """How it is refreshed."""

    @field_validator("refresh", mode="before", json_schema_input_type=RefreshOptions | None)
    @classmethod
    def _empty(cls, value: Any) -> Any:
        return {} if value is None else value

    @model_validator(mode="after")
    def _knows_its_tasks(self) -> Self:
        limit = self.refresh.limits.max_annotation_change
        for task in limit if isinstance(limit, dict) else ():
            if task not in TASKS:
                hint = nearest(task, TASKS)
                raise ValueError(f"refresh.limits.max_annotation_change.{task} is no task: {hint}")
        return self

    @property
    def run(self) -> RunConfig:
        """The run alone, without the section: what a worker and `run.yaml` get."""
        return RunConfig.model_construct(
            **{name: getattr(self, name) for name in RunConfig.model_fields}
        )


def refuse_commands(options: RefreshOptions) -> None:
    """Refuse hooks that run a program, as a config that names modules is refused.

    Raises:
        ConfigError: with the program.
    """
    for hook in options.notify:
        if hook.command:
            raise ConfigError(
                f"refresh.notify.command = {cut(list(hook.command))} runs a program: --no-plugins "
                f"allows webhooks only"
            )


def load_run(document: Mapping[str, Any], *, where: str) -> tuple[RunConfig, RefreshOptions]:
    """Check a config that may have the section, and part the two.

    Raises:
        ConfigError: the config says something that has no meaning.
    """
    config = validated(RefreshConfig, document, where=where)
    return config.run, config.refresh
