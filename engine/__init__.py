"""The engine of Florilegium, and the names that its users need.

    from engine import open_dataset                  read a finished dataset
    from engine import Annotation, Specialist        write a stage, a filter or a source

A name is imported when it is first asked for, so that `import engine` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.core.annotation import Annotation as Annotation
    from engine.core.annotation import MaskRLE as MaskRLE
    from engine.core.errors import SampleError as SampleError
    from engine.core.judgement import Statements as Statements
    from engine.core.judgement import Verdicts as Verdicts
    from engine.core.rows import Measurement as Measurement
    from engine.core.sample import DeadLetter as DeadLetter
    from engine.core.sample import Sample as Sample
    from engine.core.stage import RUNTIME as RUNTIME
    from engine.core.stage import THRESHOLD as THRESHOLD
    from engine.core.stage import Filter as Filter
    from engine.core.stage import Specialist as Specialist
    from engine.core.stage import StageConfig as StageConfig
    from engine.core.stage import maybe as maybe
    from engine.core.stage import one_of as one_of
    from engine.core.task import Task as Task
    from engine.results.dataset import Dataset as Dataset
    from engine.results.dataset import open_dataset as open_dataset
    from engine.results.dataset_sample import DatasetSample as DatasetSample
    from engine.sources.source import Item as Item
    from engine.sources.source import Reading as Reading
    from engine.sources.source import Source as Source
    from engine.sources.source import SourceConfig as SourceConfig

_MODULES = {
    "engine.core.annotation": "Annotation MaskRLE",
    "engine.core.errors": "SampleError",
    "engine.core.judgement": "Statements Verdicts",
    "engine.core.rows": "Measurement",
    "engine.core.sample": "DeadLetter Sample",
    "engine.core.stage": ("RUNTIME THRESHOLD Filter Specialist StageConfig maybe one_of"),
    "engine.core.task": "Task",
    "engine.results.dataset": "Dataset open_dataset",
    "engine.results.dataset_sample": "DatasetSample",
    "engine.sources.source": "Item Reading Source SourceConfig",
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names.split()}
__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    """Import the module of a name that is asked for the first time."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)
