"""The contract kit: tests of plugins as functions. It needs no pytest.

    from florilegium.testing import check_stage

    def test_contract() -> None:
        check_stage(MyDetector, options={"model": "tests/tiny"})

`check_stage` is for specialists, filters and sample filters, `check_source` and `check_exporter`
for these. What is wrong is raised as one `ContractBroken`, an AssertionError. `photo`, `sample` and
`samples` draw what stages are asked about, `small_dataset` builds what exporters read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from florilegium.engine.core.lazy import lazy

if TYPE_CHECKING:
    from florilegium.testing.dataset import small_dataset as small_dataset
    from florilegium.testing.drawn import broken as broken
    from florilegium.testing.drawn import photo as photo
    from florilegium.testing.drawn import sample as sample
    from florilegium.testing.drawn import samples as samples
    from florilegium.testing.exporter import ExporterReport as ExporterReport
    from florilegium.testing.exporter import check_exporter as check_exporter
    from florilegium.testing.faults import ContractBroken as ContractBroken
    from florilegium.testing.sample_judging import sample_reasons as sample_reasons
    from florilegium.testing.source import SourceReport as SourceReport
    from florilegium.testing.source import check_source as check_source
    from florilegium.testing.stage import StageReport as StageReport
    from florilegium.testing.stage import check_stage as check_stage
    from florilegium.testing.verdicts import reasons as reasons

_MODULES = {
    "florilegium.testing.dataset": "small_dataset",
    "florilegium.testing.drawn": "broken photo sample samples",
    "florilegium.testing.exporter": "ExporterReport check_exporter",
    "florilegium.testing.faults": "ContractBroken",
    "florilegium.testing.sample_judging": "sample_reasons",
    "florilegium.testing.source": "SourceReport check_source",
    "florilegium.testing.stage": "StageReport check_stage",
    "florilegium.testing.verdicts": "reasons",
}
__getattr__, __all__ = lazy(__name__, _MODULES)
