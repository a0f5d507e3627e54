"""Files of a place as items, and inputs that cannot be read as dead letters."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Iterator, Sequence

from engine.errors import ConfigError
from engine.sample import DeadLetter
from engine.sources.place import UNREADABLE, Place, printable
from engine.sources.source import SOURCE, Item

UNREADABLE_FILE = "unreadable_file"


def list_items(place: Place, suffixes: Sequence[str]) -> Iterator[Item]:
    """List the files with these suffixes (any case), and the folders that cannot be listed.

    Raises:
        ConfigError: there is none.
    """
    is_selected = place.selected()
    others: Counter[str] = Counter()
    count = 0
    for folder in place.folders():
        for name, signature in folder.files.items():
            path = folder.path + name
            is_locked = not name and signature == UNREADABLE
            if is_locked or (name.lower().endswith(tuple(suffixes)) and is_selected(path)):
                count += 1
                yield Item(location=printable(path), signature=signature)
            else:
                others[suffix_of(name)] += 1
    if count == 0:
        raise nothing_found(place, f"{' or '.join(suffixes)} files", others)


def suffix_of(name: str) -> str:
    """Return the lower-case suffix with its dot, or nothing; as in `.jpg`."""
    suffix = posixpath.splitext(name)[1].lower()
    return "" if suffix == "." else suffix


def nothing_found(place: Place, wanted: str, others: Counter[str]) -> ConfigError:
    """Say that a place has none of the wanted files, and what it has instead."""
    found = ", ".join(f"{n} {suffix or 'without suffix'}" for suffix, n in others.most_common(5))
    cure = "check `include`" if place.include else "give another URL or another `kind`"
    return ConfigError(f"{place.url} has no {wanted} (found: {found or 'nothing'}); {cure}")


def dead_letter(key: str, location: str, reason: str, message: str) -> DeadLetter:
    """Make the dead letter of an input that the source could not read."""
    return DeadLetter(key=key, source=location, stage=SOURCE, reason=reason, message=message)


def unreadable(location: str, error: Exception) -> DeadLetter:
    """Make the dead letter of a file that cannot be opened; without the paths of this machine."""
    message = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return dead_letter(location, location, UNREADABLE_FILE, printable(str(message)))
