"""The small refinement of the refine tests: here it is killed."""

from tests.pipelines.refine.conftest import configure

__all__ = ["configure"]
