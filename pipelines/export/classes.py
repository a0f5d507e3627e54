"""A class map: which label becomes which class, which labels are dropped, and the order of ids.

cat: animal        # a YAML file: label: class
dog: animal
office:            # nothing: annotations of this label are dropped
"*": other         # all other labels; without this line they keep their names
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from florilegium.engine.core.errors import UsageError
from florilegium.engine.untrusted.safe_yaml import read_yaml_file

OTHERS = "*"


@dataclass(frozen=True, kw_only=True)
class ClassMap:
    """Classes by label; "" drops. Without entries every label is its own class."""

    by_label: Mapping[str, str]

    def class_of(self, label: str) -> str:
        """Return the class of a label; empty where its annotations are dropped."""
        return self.by_label.get(label, self.by_label.get(OTHERS, label))

    @property
    def order(self) -> tuple[str, ...]:
        """The classes that the file names, in its order."""
        return tuple(dict.fromkeys(filter(None, self.by_label.values())))


def ordered(classes: Collection[str], first: Sequence[str]) -> tuple[str, ...]:
    """Return classes as ids count them: the `first` ones, then all others by name."""
    return (*first, *sorted(set(classes) - set(first)))


def read_classes(path: Path) -> ClassMap:
    """Read a class map.

    Raises:
        ConfigError: the file cannot be read as YAML.
        UsageError: it is no mapping of labels to texts.
    """
    document = read_yaml_file(path)
    if not isinstance(document, dict) or not document:
        raise UsageError(f"{path} maps no label: write lines like `cat: animal`")
    for label, name in document.items():
        if not isinstance(label, str):
            raise UsageError(f"{path}: the label {label!r:.50} is no text: put it in quotes")
        if name is not None and not (isinstance(name, str) and name.strip() == name != ""):
            raise UsageError(f"{path}: {label!r:.50} becomes {name!r:.50}: give a text, or nothing")
    return ClassMap(by_label={label: name or "" for label, name in document.items()})
