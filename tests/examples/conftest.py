"""The fixtures of the quick tests of the examples, for those that take longer."""

from tests.docs.examples.conftest import installed, scenes, script

__all__ = ["installed", "scenes", "script"]
