"""A sample goes through every stage, and what was planned can be built."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from florilegium.engine.core.errors import ConfigError, RunError
from florilegium.engine.execution.preparation import Run, prepare
from florilegium.engine.planning.config import RunConfig, load_document, validated
from florilegium.engine.planning.pools import Machines
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.cost import probe
from florilegium.pipelines.cost.allocation import allocate
from florilegium.pipelines.cost.measure import Measured, measure
from florilegium.pipelines.cost.sample import sample_source
from florilegium.pipelines.cost.table import plan_file, prediction
from tests.building import BRIGHT_ENOUGH, BRIGHTEST, DESCRIBED, build, configure, contents
from tests.specialists.online.server import MisbehavingServer

ON_GPU = {**DESCRIBED, "bright": {**DESCRIBED["bright"], "num_gpus": 1}}


@pytest.fixture(scope="module")
def measured(album: Path, tmp_path_factory: pytest.TempPathFactory, ray_cluster: None) -> Measured:
    output = tmp_path_factory.mktemp("plan")
    run = prepare(
        configure(
            album, output, runner={"kind": "ray", "workers": 1},
            specialists=ON_GPU, filters=BRIGHT_ENOUGH,
        )
    )  # fmt: skip
    found = measure(run, 6, on_stage=lambda name: None)
    assert not list(output.rglob("*.parquet")), "nothing is left behind"
    return found


def test_every_stage_is_measured_on_the_sample(measured: Measured) -> None:
    assert [cost.name for cost in measured.costs] == ["bright", "describe", "enough"]
    for cost in measured.costs:
        assert (cost.images, cost.failures) == (6, ())
        assert cost.seconds > 0
        assert cost.layer_bytes > 0
    assert measured.machines == Machines(cpus=2, gpus_by_node=(1,))


def test_a_stage_that_finds_nothing_is_measured(
    album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "hide_gpus", lambda: None)
    silent = {"silent": {"use": "tests.stages:Silent"}}
    run = prepare(configure(album, tmp_path / "out", specialists=silent))
    [sampled] = sample_source(run, 4)
    worker = probe.Probe(run.config, run.graph, Folder(str(tmp_path / "scratch")))
    cost = worker.measure("silent", worker.open(sampled.spec, 4))
    assert (cost.images, cost.layer_bytes, cost.failures) == (4, 0, ())


def test_the_whole_source_is_counted(album: Path, measured: Measured) -> None:
    sizes = [path.stat().st_size for path in album.iterdir()]
    assert measured.images == len(sizes)
    assert min(sizes) < measured.image_bytes < max(sizes)
    assert measured.shard_bytes > measured.image_bytes
    lines = prediction(measured, allocate(measured))
    assert any("12 images" in line and "GPU-hours" in line for line in lines)


def test_a_build_with_a_plan_gives_the_same_labels(
    album: Path, tmp_path: Path, measured: Measured
) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(plan_file(measured, allocate(measured)))
    assert yaml.safe_load(path.read_text())["specialists"]["bright"]["workers"] == 1
    keys: dict[str, Any] = {"specialists": ON_GPU, "filters": BRIGHT_ENOUGH}
    config = tmp_path / "config.yaml"
    config.write_text(
        yaml.safe_dump({"source": str(album), "output": str(tmp_path / "planned"), **keys})
    )
    document = load_document(config, plan=path, overrides=["runner.kind=ray"])
    planned = validated(RunConfig, document, where="test").model_dump(mode="json")
    build(album, tmp_path / "planned", **{key: planned[key] for key in ("runner", *keys)})
    build(album, tmp_path / "reference", **keys)
    assert contents(tmp_path / "planned") == contents(tmp_path / "reference")


def test_a_sample_is_spread_over_the_whole_source(album: Path, tmp_path: Path) -> None:
    [sampled] = sample_source(prepare(configure(album, tmp_path)), 4)
    names = sorted(path.name for path in album.iterdir())
    assert [entry.item.location for entry in sampled.spec.entries] == names[::3]
    assert sampled.inputs(4) == len(names)


def test_one_archive_is_sampled_for_all(album: Path, tmp_path: Path) -> None:
    for number in range(3):
        with tarfile.open(tmp_path / f"{number}.tar", "w") as tar:
            for path in sorted(album.iterdir())[:5]:
                data = path.read_bytes()
                info = tarfile.TarInfo(path.name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    source = f"{tmp_path}/{{0..2}}.tar"
    [sampled] = sample_source(prepare(configure(source, tmp_path / "out")), 4)
    assert len(sampled.spec.entries) == 1
    assert sampled.inputs(5) == 15


def test_a_source_that_cannot_be_read_is_an_error(tmp_path: Path, ray_cluster: None) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "empty.jpg").touch()
    run = prepare(configure(tmp_path / "photos", tmp_path / "out"))
    with pytest.raises(RunError, match="no image of the sample can be read: the file has no bytes"):
        measure(run, 4, on_stage=lambda name: None)


def planned(album: Path, output: Path, **stages: Any) -> Run:
    return prepare(
        configure(album, output, runner={"kind": "ray", "workers": 1}, specialists=stages)
    )


def test_leftovers_of_a_killed_plan_are_measured_again(
    album: Path, tmp_path: Path, ray_cluster: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "hide_gpus", lambda: None)
    run = planned(album, tmp_path / "out", **BRIGHTEST)
    [sampled] = sample_source(run, 4)
    scratch = Folder(f"{run.output.url}/plan")
    killed = probe.Probe(run.config, run.graph.about_all(), scratch)
    killed.measure("bright", killed.open(sampled.spec, 4))
    assert list((tmp_path / "out" / "plan").rglob("*.parquet"))
    again = measure(run, 4, on_stage=lambda name: None)
    assert [(cost.images, cost.failures) for cost in again.costs] == [(4, ())]
    assert all(cost.layer_bytes > 0 for cost in again.costs)
    assert not (tmp_path / "out" / "plan").exists()


def test_a_stage_that_fits_no_node_is_refused_at_once(
    album: Path, tmp_path: Path, ray_cluster: None
) -> None:
    run = planned(album, tmp_path / "out", bright={**DESCRIBED["bright"], "num_gpus": 2})
    message = r"stage 'bright' needs 2 GPU and no node of the cluster has that \(GPUs by node: 1\)"
    with pytest.raises(RunError, match=message):
        measure(run, 4, on_stage=lambda name: None)


def test_stages_with_a_caveat_do_not_build_unless_allowed(album: Path, tmp_path: Path) -> None:
    doubtful = {"doubtful": {"use": "tests.stages:Doubtful"}}
    with pytest.raises(
        ConfigError, match=r"'doubtful' has random weights: .* allow_random_weights=true"
    ):
        build(album, tmp_path / "out", specialists=doubtful)
    build(album, tmp_path / "out", specialists=doubtful, allow_random_weights=True)


def test_services_are_asked_once_about_each_image_and_a_share_is_counted_for_its_own(
    album: Path, tmp_path: Path, ray_cluster: None
) -> None:
    """The annotator makes two requests for each image, and charges for each."""
    log = tmp_path / "log"
    remote = {"use": "tests.stages:Remote", "log": str(log), "batch_size": 1}
    with MisbehavingServer() as server:
        annotator = {
            "use": "lmm_caption", "url": server.url, "model": "a-model", "reads": [],
            "sample_share": 0.01, "price_per_request": 0.5,
        }  # fmt: skip
        found = measure(
            planned(album, tmp_path / "out", remote=remote, annotator=annotator),
            4,
            on_stage=lambda name: None,
        )
    cost = next(cost for cost in found.costs if cost.name == "annotator")
    assert len(log.read_text().split()) == 4
    assert (cost.images, cost.requests, cost.price) == (4, 8, 4.0)
    assert cost.sample_share == 0.01
    assert cost.s_per_image == pytest.approx(cost.seconds / 4 * 0.01)
    assert cost.per_image(cost.requests) == pytest.approx(0.02)
    assert [node.sample_share for node in found.graph.specialists] == [1, 0.01]


def test_the_plan_of_students_stands_where_a_refinement_reads_it(measured: Measured) -> None:
    text = plan_file(measured, allocate(measured), students=["bright"])
    document = yaml.safe_load(text)
    assert document["refine"]["students"]["bright"]["workers"] == 1
    assert "bright" not in document.get("specialists", {})
