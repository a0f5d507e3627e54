"""What a stage or a service needs is looked for before anything starts."""

from __future__ import annotations

import pytest

from florilegium.engine.core.errors import MissingPackage
from florilegium.engine.planning.registry import require


def test_a_package_within_one_that_is_missing_is_missing() -> None:
    with pytest.raises(MissingPackage, match=r"needs absent\.part, not .*'florilegium\[tracing\]'"):
        require("a service", ("json", "absent.part"), extra="tracing")
