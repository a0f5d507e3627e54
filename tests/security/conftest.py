"""The small refinement of the refine tests: here it is killed."""

from tests.pipelines.refine.conftest import configure, untrained

__all__ = ["configure", "untrained"]
