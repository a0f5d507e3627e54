"""Florilegium builds vision datasets in the style of FLD-5B. This is its public API.

    from florilegium import build                     # build a dataset
    from florilegium import open_dataset              # read a finished dataset
    from florilegium import Annotation, Specialist    # write a specialist; filters, sources,
                                                      # exporters and merge rules likewise

What is not listed here may change from one version to the next. A name is imported when it is
first asked for, so that `import florilegium` costs nothing.

In a checkout, the folders `engine`, `pipelines`, `specialists` and `configs` of this package are
links to those at the top; an installation has them as real folders.
"""

from __future__ import annotations

import os.path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from florilegium.engine.core.annotation import Annotation as Annotation
    from florilegium.engine.core.annotation import MaskRLE as MaskRLE
    from florilegium.engine.core.api import API_VERSION as API_VERSION
    from florilegium.engine.core.errors import ConfigError as ConfigError
    from florilegium.engine.core.errors import MissingModel as MissingModel
    from florilegium.engine.core.errors import MissingPackage as MissingPackage
    from florilegium.engine.core.errors import SampleError as SampleError
    from florilegium.engine.core.errors import StorageError as StorageError
    from florilegium.engine.core.errors import UsageError as UsageError
    from florilegium.engine.core.judgement import SampleColumns as SampleColumns
    from florilegium.engine.core.judgement import Statements as Statements
    from florilegium.engine.core.judgement import Verdicts as Verdicts
    from florilegium.engine.core.rows import Measurement as Measurement
    from florilegium.engine.core.sample import DeadLetter as DeadLetter
    from florilegium.engine.core.sample import Sample as Sample
    from florilegium.engine.core.stage import ADDED as ADDED
    from florilegium.engine.core.stage import CONTENT as CONTENT
    from florilegium.engine.core.stage import RUNTIME as RUNTIME
    from florilegium.engine.core.stage import THRESHOLD as THRESHOLD
    from florilegium.engine.core.stage import Filter as Filter
    from florilegium.engine.core.stage import SampleFilter as SampleFilter
    from florilegium.engine.core.stage import Specialist as Specialist
    from florilegium.engine.core.stage import StageConfig as StageConfig
    from florilegium.engine.core.stage import maybe as maybe
    from florilegium.engine.core.stage import one_of as one_of
    from florilegium.engine.core.task import Florence2Prompt as Florence2Prompt
    from florilegium.engine.core.task import Task as Task
    from florilegium.engine.results.dataset import Dataset as Dataset
    from florilegium.engine.results.dataset import open_dataset as open_dataset
    from florilegium.engine.results.dataset_sample import DatasetSample as DatasetSample
    from florilegium.engine.sources.source import Item as Item
    from florilegium.engine.sources.source import Reading as Reading
    from florilegium.engine.sources.source import Source as Source
    from florilegium.engine.sources.source import SourceConfig as SourceConfig
    from florilegium.engine.storage.folder import Folder as Folder
    from florilegium.pipelines.commands.from_python import build as build
    from florilegium.pipelines.export.exporter import ExportConfig as ExportConfig
    from florilegium.pipelines.export.exporter import Exported as Exported
    from florilegium.pipelines.export.exporter import Exporter as Exporter
    from florilegium.pipelines.export.selected import SelectedDataset as SelectedDataset
    from florilegium.pipelines.merge.rules import Case as Case
    from florilegium.pipelines.merge.rules import Rule as Rule
    from florilegium.pipelines.merge.rules import RuleOptions as RuleOptions

_MODULES = {
    "florilegium.engine.core.annotation": "Annotation MaskRLE",
    "florilegium.engine.core.api": "API_VERSION",
    "florilegium.engine.core.errors": (
        "ConfigError MissingModel MissingPackage SampleError StorageError UsageError"
    ),
    "florilegium.engine.core.judgement": "SampleColumns Statements Verdicts",
    "florilegium.engine.core.rows": "Measurement",
    "florilegium.engine.core.sample": "DeadLetter Sample",
    "florilegium.engine.core.stage": (
        "ADDED CONTENT RUNTIME THRESHOLD Filter SampleFilter Specialist StageConfig maybe one_of"
    ),
    "florilegium.engine.core.task": "Florence2Prompt Task",
    "florilegium.engine.results.dataset": "Dataset open_dataset",
    "florilegium.engine.results.dataset_sample": "DatasetSample",
    "florilegium.engine.sources.source": "Item Reading Source SourceConfig",
    "florilegium.engine.storage.folder": "Folder",
    "florilegium.pipelines.commands.from_python": "build",
    "florilegium.pipelines.export.exporter": "ExportConfig Exported Exporter",
    "florilegium.pipelines.export.selected": "SelectedDataset",
    "florilegium.pipelines.merge.rules": "Case Rule RuleOptions",
}


def _refuse_without_links() -> None:
    """Say what to do where a checkout has files instead of links, or a wheel was built from it."""
    if not os.path.isdir(os.path.join(os.path.dirname(__file__), "engine")):
        raise ImportError(
            "florilegium/engine is no folder: the checkout was made without symbolic links, as on "
            "Windows. In it, run `git config core.symlinks true` and `git checkout -- florilegium`,"
            " or install a wheel instead"
        )


_refuse_without_links()

from florilegium.engine.core.lazy import lazy  # noqa: E402  (that check is first)

__getattr__, __all__ = lazy(__name__, _MODULES)
