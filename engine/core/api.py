"""The version of the plugin API: of what stages, sources, exporters and merge rules are given and
have to give."""

from __future__ import annotations

API_VERSION = 1
"""Raise it when plugins that were written before have to be changed. A class that says so by
`api_version` is written for one version, and is refused by another."""
