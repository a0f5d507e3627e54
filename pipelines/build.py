"""Building a dataset: run the engine, show how it goes, and put in place what people read."""

from __future__ import annotations

import yaml

from engine.manifest import MANIFEST, Manifest, write_dead_letters
from engine.progress import Progress
from engine.run import Run, execute
from pipelines.card import write_card
from pipelines.display import shown
from pipelines.report import REPORT, write_report


def build_dataset(run: Run, *, retry: bool = False) -> Manifest:
    """Build what is missing of a dataset; the manifest is written last.

    Raises:
        RunError: too many images failed, or the workers cannot go on.
        StorageError: a file cannot be written.
    """
    progress = Progress()
    with shown(progress):
        manifest = execute(run, progress, retry=retry)
        output = run.output
        if output.read(MANIFEST) == manifest.to_json() and output.exists(REPORT):
            return manifest
        progress.current = "writing card and report"
        output.remove(MANIFEST)
        write_dead_letters(output, manifest)
        output.publish("run.yaml", resolved_config(run).encode())
        write_card(output, manifest)
        write_report(output)
        output.publish(MANIFEST, manifest.to_json())
    return manifest


def resolved_config(run: Run) -> str:
    """Return the config with every default filled in, as YAML that builds the same again."""
    document = run.config.model_dump(mode="json")
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
