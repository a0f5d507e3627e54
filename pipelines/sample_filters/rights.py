"""Drops images by their rights: licences that are not allowed, and images whose owner opted out.

What the source and the file state is stored for each image; a policy judges it. The filter knows no
law: which licences and opt-outs count is for the config to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import field_validator

from florilegium.engine.core.judgement import SampleColumns, Verdicts
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import THRESHOLD, SampleFilter, StageConfig
from florilegium.pipelines.sample_filters.licences import (
    UNKNOWN,
    is_allowed,
    kind_of_versions,
    spdx_of,
)
from florilegium.pipelines.sample_filters.source_rights import (
    DATA_MINING,
    NO_AI,
    TDM,
    SourceRights,
    rights_of,
)

LICENCE_NOT_ALLOWED = "licence_not_allowed"
UNKNOWN_LICENCE = "unknown_licence"
OPTED_OUT = "opted_out"
OPT_OUTS = (NO_AI, "noimageai", TDM, DATA_MINING)


class RightsConfig(StageConfig):
    """Options of `rights`."""

    allowed: Annotated[tuple[str, ...] | None, THRESHOLD] = None
    """Licences that are allowed, as SPDX identifiers (`CC0-1.0`, `CC-BY-4.0`) or URLs of Creative
    Commons; `CC-BY-*` stands for all versions of that one licence. `null` allows every licence that
    is known."""
    unknown: Annotated[Literal["drop", "keep"], THRESHOLD] = "keep"
    """What happens to images whose licence is not stated, or not recognised."""
    opt_outs: Annotated[tuple[str, ...], THRESHOLD] = OPT_OUTS
    """Statements by which an owner opts out: directives for robots (`noai`, `noimageai`,
    `noindex`), `tdm-reservation`, and `dmi-prohibited`, the data mining property of IPTC."""

    @field_validator("allowed")
    @classmethod
    def _known(cls, allowed: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return None if allowed is None else tuple(map(_entry, allowed))

    @field_validator("opt_outs")
    @classmethod
    def _plain(cls, opt_outs: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(one.strip().casefold() for one in opt_outs)


class Rights(SampleFilter[RightsConfig]):
    """Judge images by licence and opt-out, as their source and their own metadata state them."""

    Config: ClassVar[type[StageConfig]] = RightsConfig
    measured_texts = ("licence", "stated", "author", "opt_outs")

    def measure(self, samples: Sequence[Sample]) -> list[dict[str, str]]:
        """Read what is stated of each image; its pixels are not decoded."""
        return [_texts(rights_of(one.metadata, one.picture.data)) for one in samples]

    def judge(self, samples: SampleColumns) -> Verdicts:
        verdicts = Verdicts(len(samples))
        licence, opt_outs = (samples.texts[name] for name in ("licence", "opt_outs"))
        refused = frozenset(self.config.opt_outs)
        has_opted_out = [not refused.isdisjoint(one.split()) for one in opt_outs]
        verdicts.drop(np.array(has_opted_out, bool), OPTED_OUT)
        is_unknown = np.array([one == UNKNOWN for one in licence], bool)
        if self.config.unknown == "drop":
            verdicts.drop(is_unknown, UNKNOWN_LICENCE)
        if self.config.allowed is not None:
            allowed = frozenset(self.config.allowed)
            is_good = np.array([is_allowed(one, allowed) for one in licence], bool)
            verdicts.drop(~is_good & ~is_unknown, LICENCE_NOT_ALLOWED)
        return verdicts


def _texts(rights: SourceRights) -> dict[str, str]:
    return {
        "licence": rights.licence,
        "stated": rights.stated,
        "author": rights.author,
        "opt_outs": " ".join(rights.opt_outs),
    }


def _entry(licence: str) -> str:
    """Return an entry of the list of allowed licences in its canonical form.

    Raises:
        ValueError: it is no known licence.
    """
    start = licence.strip().removesuffix("-*")
    versions = "-*" if start != licence.strip() else ""
    known = kind_of_versions(start) if versions else spdx_of(start)
    if not known:
        raise ValueError(
            f"{licence!r} is no known licence: give an SPDX identifier such as 'CC-BY-4.0', "
            "'CC-BY-*' or the URL of a Creative Commons licence"
        )
    return f"{known}{versions}"
