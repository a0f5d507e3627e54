"""Make the packages of `.venv/readers` importable, then run the tests of this folder."""

from __future__ import annotations

import sys
from pathlib import Path

PACKAGES = Path(__file__).parents[2] / ".venv" / "readers"


def main() -> int:
    """Run pytest on this folder; its exit code."""
    import pytest

    sys.path.append(str(PACKAGES))  # behind the environment, whose packages stay as they are
    return int(pytest.main([str(Path(__file__).parent), *sys.argv[1:]]))


if __name__ == "__main__":
    sys.exit(main())
