"""Lists files as items, and makes dead letters of inputs that cannot be read."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from florilegium.engine.core.annotation import SOURCE
from florilegium.engine.core.counted import counted
from florilegium.engine.core.errors import ConfigError, SampleError
from florilegium.engine.core.redaction import redacted
from florilegium.engine.core.sample import DeadLetter
from florilegium.engine.sources.place import UNOPENED, Place, printable, size_of
from florilegium.engine.sources.source import Item
from florilegium.engine.untrusted.traces import traceback_of

UNREADABLE_FILE = "unreadable_file"
SOURCE_FAILED = "source_failed"
"""The source itself failed, whatever the input is."""
_MAX_KINDS = 20


class LeftAlone:
    """Counts files of a listing that are neither inputs nor labels, by kind."""

    def __init__(self) -> None:
        self._kinds: Counter[str] = Counter()
        self._captions = 0

    def add(self, name: str) -> None:
        """Count a file that is not read."""
        self._kinds[suffix_of(name)] += 1

    def add_caption(self) -> None:
        """Count a caption that belongs to no image."""
        self._captions += 1

    def remarks(self) -> tuple[str, ...]:
        """Return a line for captions and one for other files, if there are any."""
        lines = []
        if self._captions:
            lines.append(f"{counted(self._captions, 'caption')} without an image")
        if self._kinds:
            # Files without suffix last; of many kinds the most frequent.
            commonest = sorted(self._kinds.items(), key=lambda kind: (-kind[1], kind[0]))
            kinds = sorted(commonest[:_MAX_KINDS], key=lambda kind: (not kind[0], kind[0]))
            shown = [f"{n:,} {suffix or 'without suffix'}" for suffix, n in kinds]
            if rest := sum(n for _, n in commonest[_MAX_KINDS:]):
                shown.append(f"{rest:,} of other kinds")
            lines.append(f"{counted(self._kinds.total(), 'file')} left alone: {', '.join(shown)}")
        return tuple(lines)


def list_items(
    place: Place, suffixes: Sequence[str], left_alone: LeftAlone, *, companions: Sequence[str] = ()
) -> Iterator[Item]:
    """List the files with these suffixes (any case), and the folders that cannot be listed.

    Other files that the URL selects are counted as left alone, except companions of the items:
    files with an item's name and one of the endings `companions` instead of its suffix.

    Raises:
        ConfigError: there is none.
    """
    is_selected = place.selected()
    others: Counter[str] = Counter()
    count = 0
    for folder in place.folders():
        belonging = {
            name[: len(name) - len(suffix)] + ending
            for name in folder.files
            if companions and (suffix := suffix_among(name, suffixes))
            for ending in companions
        }
        for name, signature in folder.files.items():
            path = folder.path + name
            is_locked = not name and signature in UNOPENED
            if is_locked or (suffix_among(name, suffixes) and is_selected(path)):
                count += 1
                size = size_of(signature)
                yield Item(location=printable(path), signature=signature, size=size)
                continue
            others[suffix_of(name)] += 1
            if name not in belonging and is_selected(path):
                left_alone.add(name)
    if count == 0:
        raise nothing_found(place, f"{' or '.join(suffixes)} files", others)


def suffix_among(name: str, suffixes: Iterable[str]) -> str:
    """Return the longest of the suffixes with which a name ends, in any case; or nothing."""
    lower = name.lower()
    return max((suffix for suffix in suffixes if lower.endswith(suffix)), key=len, default="")


def suffix_of(name: str) -> str:
    """Return the lower-case suffix with its dot, or nothing; as in `.jpg`."""
    suffix = posixpath.splitext(name)[1].lower()
    return "" if suffix == "." else suffix


def nothing_found(place: Place, wanted: str, others: Counter[str]) -> ConfigError:
    """Return the error of a URL without any of the wanted files, with what it has instead."""
    found = ", ".join(f"{n} {suffix or 'without suffix'}" for suffix, n in others.most_common(5))
    cure = "check `include`" if place.include else "give another URL or another `kind`"
    return ConfigError(f"{place.url} has no {wanted} (found: {found or 'nothing'}); {cure}")


def dead_letter(key: str, location: str, reason: str, message: str) -> DeadLetter:
    """Make the dead letter of an input that the source could not read."""
    location = location.encode("utf-8", "backslashreplace").decode()
    message = redacted(message)
    return DeadLetter(key=key, source=location, stage=SOURCE, reason=reason, message=message)


def failed(key: str, location: str, error: Exception) -> DeadLetter:
    """Make the dead letter of an input on which a source raised an unforeseen error."""
    problem = SampleError(SOURCE_FAILED, f"{type(error).__name__}: {error}")
    return replace(
        dead_letter(key, location, SOURCE_FAILED, problem.message), traceback=traceback_of(error)
    )


def unreadable(location: str, error: Exception) -> DeadLetter:
    """Make the dead letter of a file that cannot be opened; without the paths of this machine."""
    if isinstance(error, SampleError):
        return dead_letter(location, location, error.reason, error.message)
    message = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return dead_letter(location, location, UNREADABLE_FILE, printable(str(message)))
