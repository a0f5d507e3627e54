"""Make torchvision importable, then run the tests of this folder."""

from __future__ import annotations

import sys
from pathlib import Path


def main() -> int:
    """Run pytest on this folder; its exit code."""
    import pytest

    import tests.torchvision.operators  # noqa: F401

    return int(pytest.main([str(Path(__file__).parent), *sys.argv[1:]]))


if __name__ == "__main__":
    sys.exit(main())
