"""The events that OpenLineage has of a run: START, then COMPLETE, FAIL or ABORT.

They name what was read and what was written, and describe the output by facets of the specification
and by one of ours, `florilegium_annotations`. This module sends nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import cast

from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
from openlineage.client.facet_v2 import (
    DatasetFacet,
    OutputDatasetFacet,
    RunFacet,
    data_quality_metrics_dataset,
    dataset_version_dataset,
    documentation_dataset,
    error_message_run,
    job_type_job,
    output_statistics_output_dataset,
    parent_run,
    processing_engine_run,
    schema_dataset,
)
from openlineage.client.uuid import generate_new_uuid

from florilegium.engine.core.columns import Column
from florilegium.engine.core.redaction import redacted
from florilegium.engine.results.contract import SAMPLE_COLUMNS
from florilegium.engine.results.manifest import Manifest
from florilegium.engine.results.shard_table import ShardTable
from florilegium.pipelines.telemetry.dataset_names import DatasetName

NAME = "florilegium"
VERSION = version(NAME)
PRODUCER = f"pkg:generic/{NAME}@{VERSION}"
"""The URI of the program that events come from."""
ANNOTATIONS = f"{NAME}_annotations"
"""The facet of an output that has its inputs, dead letters by reason, annotations by task."""
_DOCUMENTATION = (
    "Images as WebDataset shards, with annotations by specialist models that filters judged; each "
    "has its score and its provenance."
)
_FILES_OF_SHARD = 3  # tar, Parquet, statistics


@dataclass(frozen=True, kw_only=True)
class LineageRun:
    """A run of a job; the same job has many."""

    namespace: str
    job: str
    run_id: str

    @classmethod
    def new(cls, namespace: str, job: str) -> LineageRun:
        """Return the next run of a job."""
        return cls(namespace=namespace, job=job, run_id=str(generate_new_uuid()))


@dataclass(frozen=True, kw_only=True)
class Events:
    """The events of one run, which reads `inputs` and writes `output`."""

    run: LineageRun
    parent: LineageRun | None
    command: str
    inputs: Sequence[DatasetName]
    output: DatasetName

    def started(self) -> RunEvent:
        """Return the event of a run that begins."""
        return self._event(RunState.START)

    def completed(self) -> RunEvent:
        """Return the event of a run that is done, of whose dataset nothing is known here."""
        return self._event(RunState.COMPLETE)

    def completed_dataset(self, manifest: Manifest, *, digest: str, made: ShardTable) -> RunEvent:
        """Return the event of a run that finished a dataset; `made` are the shards that are new.

        `digest` is that of the manifest, and so the version of the dataset.
        """
        facets = {
            "version": dataset_version_dataset.DatasetVersionDatasetFacet(
                datasetVersion=digest, producer=PRODUCER
            ),
            "dataQualityMetrics": _quality(manifest),
            ANNOTATIONS: _annotations(manifest),
        }
        return self._event(RunState.COMPLETE, facets, {"outputStatistics": _statistics(made)})

    def failed(self, error: BaseException) -> RunEvent:
        """Return the event of a run that ended with an error."""
        message = error_message_run.ErrorMessageRunFacet(
            message=redacted(f"{type(error).__name__}: {error}"),
            programmingLanguage="PYTHON",
            producer=PRODUCER,
        )
        return self._event(RunState.FAIL, run_facets={"errorMessage": message})

    def aborted(self) -> RunEvent:
        """Return the event of a run that was stopped by a person or a scheduler."""
        return self._event(RunState.ABORT)

    def _event(
        self,
        state: RunState,
        facets: dict[str, DatasetFacet] | None = None,
        output_facets: dict[str, OutputDatasetFacet] | None = None,
        run_facets: dict[str, RunFacet] | None = None,
    ) -> RunEvent:
        return RunEvent(
            eventTime=datetime.now(UTC).isoformat(),
            eventType=state,
            run=Run(runId=self.run.run_id, facets={**self._run_facets(), **(run_facets or {})}),
            job=Job(
                namespace=self.run.namespace,
                name=self.run.job,
                facets={
                    "jobType": job_type_job.JobTypeJobFacet(
                        processingType="BATCH",
                        integration=NAME.upper(),
                        jobType=self.command.upper(),
                        producer=PRODUCER,
                    )
                },
            ),
            inputs=[InputDataset(namespace=one.namespace, name=one.name) for one in self.inputs],
            outputs=[
                OutputDataset(
                    namespace=self.output.namespace,
                    name=self.output.name,
                    facets={**_described(), **(facets or {})},
                    outputFacets=output_facets or {},
                )
            ],
            producer=PRODUCER,
        )

    def _run_facets(self) -> dict[str, RunFacet]:
        facets: dict[str, RunFacet] = {
            "processing_engine": processing_engine_run.ProcessingEngineRunFacet(
                version=VERSION, name=NAME, producer=PRODUCER
            )
        }
        if self.parent:
            facets["parent"] = parent_run.ParentRunFacet(
                run=parent_run.Run(runId=self.parent.run_id),
                job=parent_run.Job(namespace=self.parent.namespace, name=self.parent.job),
                producer=PRODUCER,
            )
        return facets


def _described() -> dict[str, DatasetFacet]:
    """Describe what every dataset of ours is, with the fields of a sample's JSON."""
    return {
        "schema": schema_dataset.SchemaDatasetFacet(
            fields=_fields(SAMPLE_COLUMNS), producer=PRODUCER
        ),
        "documentation": documentation_dataset.DocumentationDatasetFacet(
            description=_DOCUMENTATION, producer=PRODUCER
        ),
    }


def _fields(columns: Iterable[Column]) -> list[schema_dataset.SchemaDatasetFacetFields]:
    return [
        schema_dataset.SchemaDatasetFacetFields(
            name=column.name,
            type=str(column.type).partition("<")[0] if column.fields else str(column.type),
            description=column.doc,
            fields=_fields(column.fields),
        )
        for column in columns
    ]


def _statistics(shards: ShardTable) -> OutputDatasetFacet:
    """Count what is new in the dataset."""
    return output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
        rowCount=sum(shards.column("samples")),
        size=shards.bytes,
        fileCount=_FILES_OF_SHARD * len(shards),
        producer=PRODUCER,
    )


def _quality(manifest: Manifest) -> DatasetFacet:
    """Count what the dataset has; keys are unique, and no sample lacks a field."""
    samples = manifest.totals.samples
    column = data_quality_metrics_dataset.ColumnMetrics
    return data_quality_metrics_dataset.DataQualityMetricsDatasetFacet(
        rowCount=samples,
        bytes=manifest.shards.bytes,
        fileCount=_FILES_OF_SHARD * len(manifest.shards),
        columnMetrics={
            "key": column(count=samples, nullCount=0, distinctCount=samples),
            "annotations": column(count=samples, nullCount=0),
        },
        producer=PRODUCER,
    )


def _annotations(manifest: Manifest) -> DatasetFacet:
    totals = manifest.totals
    facet = DatasetFacet(producer=PRODUCER).with_additional_properties(
        inputs=totals.inputs,
        samples=totals.samples,
        deadLetters=totals.failures,
        tasks=totals.shown_tasks,
        drops=totals.drops,
    )
    return cast(DatasetFacet, facet)
