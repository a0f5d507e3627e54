"""The command line and its configs, as the tests from end to end have them."""

from __future__ import annotations

from tests.end_to_end.conftest import florilegium, written

__all__ = ["florilegium", "written"]
