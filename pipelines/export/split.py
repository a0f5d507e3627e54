"""The parts of an export, by shares: an image's digest decides, so that it stays in its part when
the dataset grows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from florilegium.engine.core.errors import UsageError
from florilegium.engine.core.sample import fold_of

_FOLDS = 10_000
_NAME = re.compile("[A-Za-z][A-Za-z0-9_-]{0,30}")


@dataclass(frozen=True, kw_only=True)
class Split:
    """Parts by name in their order, with their shares in ten thousandths, 10000 together."""

    shares: tuple[tuple[str, int], ...]

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the parts."""
        return tuple(name for name, _ in self.shares)

    def part_of(self, sha256: str) -> str:
        """Return the part of an image: the same for the same bytes."""
        fold, end = fold_of(sha256, _FOLDS), 0
        for name, share in self.shares:
            end += share
            if fold < end:
                return name
        raise AssertionError("shares sum up to 10000")


def parse_split(text: str) -> Split:
    """Return the split of a text such as `train=.9,val=.1`.

    Raises:
        UsageError: a name or share is none, or the shares do not sum up to 1.
    """
    shares: dict[str, int] = {}
    for part in text.split(","):
        name, _, share = (one.strip() for one in part.partition("="))
        if not _NAME.fullmatch(name):
            raise UsageError(f"{name!r:.50} is no name of a part: letters, digits, `_` and `-`")
        if name in shares:
            raise UsageError(f"--split names {name!r} twice")
        shares[name] = _units(name, share)
    if sum(shares.values()) != _FOLDS:
        total = Decimal(sum(shares.values())) / _FOLDS
        raise UsageError(f"the shares of --split {text!r:.100} sum up to {total}, not to 1")
    return Split(shares=tuple(shares.items()))


def _units(name: str, share: str) -> int:
    try:
        units = Decimal(share) * _FOLDS
    except InvalidOperation:
        units = Decimal(0)
    if not (units.is_finite() and 0 < units <= _FOLDS and units == int(units)):
        raise UsageError(
            f"the share of {name!r} is {share!r:.50}: give a number above 0 and up to 1, with at "
            f"most 4 decimals"
        )
    return int(units)
