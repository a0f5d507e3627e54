"""Building a dataset: run the engine, show how it goes, and put in place what people read."""

from __future__ import annotations

import yaml

from engine.manifest import DEAD_LETTERS, MANIFEST, RECIPE, Manifest, write_dead_letters
from engine.progress import Progress
from engine.run import Run, execute
from engine.storage import Folder
from pipelines.card import CARD, write_card
from pipelines.display import shown

RUN = "run.yaml"
"""The resolved config within a dataset."""


def build_dataset(run: Run, *, retry: bool = False) -> Manifest:
    """Build what is missing of a dataset, with its report; whatever was lost on the way.

    Raises:
        RunError: so many images fail that the limit cannot be kept, or the workers cannot go on.
        StorageError: a file cannot be written.
    """
    progress = Progress()
    with shown(progress):
        manifest = execute(run, progress, retry=retry)
        progress.current = "writing card and report"
        put_in_place(run, manifest)
    return manifest


def put_in_place(run: Run, manifest: Manifest) -> None:
    """Write what stands beside the shards, the manifest last; nothing when nothing is new."""
    from pipelines.report import REPORT, STATISTICS, write_report

    output, content, config = run.output, manifest.to_json(), resolved_config(run).encode()
    beside = (DEAD_LETTERS, CARD, REPORT, STATISTICS)
    is_current = output.read(MANIFEST) == content and output.read(RUN) == config
    if is_current and all(map(output.exists, beside)):
        return
    output.remove(MANIFEST)
    write_dead_letters(output, manifest)
    output.publish(RUN, config)
    write_card(output, manifest)
    write_report(output)
    finish(output, manifest)


def finish(output: Folder, manifest: Manifest) -> None:
    """Write the manifest, by which a dataset is known to be finished."""
    output.publish(MANIFEST, manifest.to_json())
    output.remove(RECIPE)


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
