"""The command line, its configs, and folders on a storage, as tests from end to end have them."""

from __future__ import annotations

from tests.end_to_end.conftest import florilegium, written
from tests.end_to_end.test_object_storage import output, photos

__all__ = ["florilegium", "output", "photos", "written"]
