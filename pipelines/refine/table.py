"""Rounds and audits as lines for the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from florilegium.engine.core.counted import counted
from florilegium.pipelines.dataset.lineage import AGREEMENT, Round
from florilegium.pipelines.merge.rules import AGREEMENT_RULE
from florilegium.pipelines.refine.to_audit import ToAudit


def round_line(one: Round) -> Text:
    """Return the result of a round in one line."""
    kinds = "  ".join(f"{kind} {_shown(value, 3)}" for kind, value in one.quality.items())
    verdict = ("promoted", "green") if one.is_promoted else ("not promoted", "yellow")
    line = Text(f"round {one.number}  {kinds}  mean {_shown(one.mean_quality, 4)} ")
    line.append(f"by {one.measured_by}, ").append(*verdict).append(f": {one.reason}")
    for name, why in _uncalibrated(one):
        line.append(f"\n         {name} by agreement of the voters: {why}", style="yellow")
    return line


def audit_lines(audit: ToAudit) -> Iterator[str]:
    """Yield where the candidates and the audit file are, and what to do with them."""
    yield f"candidates  {audit.candidates}, report.html beside them"
    yield (
        f"audit       {audit.file}: {counted(audit.annotations, 'annotation')} of "
        f"{counted(audit.samples, 'sample')}, {audit.answered} answered"
    )
    yield (
        f"Answer in a page, florilegium serve {audit.candidates} --audit, or put true or false "
        'after "right" in its lines, as many as you like: null is ignored. '
        f"Then run the same command without --until and with --set refine.audit={audit.file}"
    )


def _shown(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _uncalibrated(one: Round) -> Iterator[tuple[str, str]]:
    """Yield the merges without a calibration, and the reason."""
    for name, merge in one.merges.items():
        if merge["rule"] == AGREEMENT_RULE and one.measured_by == AGREEMENT:
            yield f"{name}: merged", "there is no audit (refine --until candidates starts one)"
        if merge["rule"] == "calibrated_fusion":
            for task, learned in merge["tasks"].items():
                if learned["reason"]:
                    yield f"{name}: {task} is merged", learned["reason"].replace("_", " ")
