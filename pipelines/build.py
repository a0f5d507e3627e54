"""Building a dataset: run the engine, show how it goes, and put in place what people read."""

from __future__ import annotations

from collections.abc import Callable

import yaml

from engine.lease import writing
from engine.manifest import DEAD_LETTERS, MANIFEST, Manifest
from engine.progress import Progress
from engine.publication import refuse_vanished
from engine.redaction import redacted
from engine.run import Run, execute, refuse_caveats
from engine.versions import switch
from pipelines.card import CARD, write_card
from pipelines.display import shown

RUN = "run.yaml"
"""The resolved config within a dataset."""


def build_dataset(
    run: Run, *, retry: bool = False, replace: bool = False, step: str = ""
) -> Manifest:
    """Build what is missing of a dataset, with its report; whatever was lost on the way.

    `step` is shown with the progress.

    Raises:
        OutputInUse: another command writes the output.
        RunError: so many images fail that the limit cannot be kept, or the workers cannot go on.
        StorageError: a file cannot be written.
    """
    refuse_caveats(run)  # before anything is written
    progress = Progress(step=step)
    with writing(run.output) as lease, shown(progress):
        manifest = execute(run, progress, retry=retry, replace=replace)
        progress.current = "writing card and report"
        put_in_place(run, manifest, before_switch=lease.check)
    return manifest


def put_in_place(
    run: Run, manifest: Manifest, *, before_switch: Callable[[], None] = lambda: None
) -> None:
    """Write what stands beside the shards, then switch; write nothing when nothing is new."""
    from pipelines.report import REPORT, STATISTICS, write_report

    output, content, config = run.output, manifest.to_json(), resolved_config(run).encode()
    beside = (CARD, REPORT, STATISTICS)
    before_switch()  # nothing is written over what another command wrote meanwhile
    is_current = output.read(MANIFEST) == content and output.read(RUN) == config
    if not (is_current and all(map(output.exists, beside))):
        output.publish(RUN, config)
        write_report(output, manifest.shards)
        before_switch()
        write_card(output, manifest)
    finish(run, manifest, before_switch=before_switch)


def finish(run: Run, manifest: Manifest, *, before_switch: Callable[[], None]) -> None:
    """Switch to a manifest, by which a dataset is known to be finished."""
    if run.output.read(DEAD_LETTERS) != manifest.dead_letters_file:
        run.output.publish(DEAD_LETTERS, manifest.dead_letters_file)
    refuse_vanished(run.output, manifest.shards)
    before_switch()
    switch(run.output, manifest.to_json(), keep=run.config.keep_versions)


def resolved_config(run: Run) -> str:
    """Return the config with every default filled in, as YAML that builds the same again; the
    signature of a source's URL has to be given once more."""
    document = run.config.model_dump(mode="json")
    for source in document["source"]:
        source["url"] = redacted(source["url"])
    for section, nodes in (
        ("specialists", run.graph.specialists),
        ("filters", run.graph.filters),
    ):
        document[section] = {
            node.name: {
                "use": node.use,
                "reads": list(node.inputs),
                **node.stage.config.model_dump(mode="json"),
            }
            for node in nodes
        }
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
