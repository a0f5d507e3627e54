"""The kinds of plugins that a package can be written for."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """What a plugin is."""

    SPECIALIST = "specialist"
    FILTER = "filter"
    SAMPLE_FILTER = "sample_filter"
    SOURCE = "source"
    EXPORTER = "exporter"
