"""Fixtures shared by all tests: real photographs, from installed packages."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from importlib.resources import files
from pathlib import Path

import pytest
from PIL import Image

from tests.fault_proxy import Proxy, proxy_of
from tests.object_storage import ObjectStorage, reached_at, running

os.environ["HF_HUB_OFFLINE"] = "1"  # read when the hub's package is imported: no test asks it

ROOT = Path(__file__).parents[1]
_PHOTOGRAPHS = {
    "astronaut": ("skimage.data", "astronaut.png"),
    "cat": ("skimage.data", "chelsea.png"),
    "cup": ("skimage.data", "coffee.png"),
    "motorcycle": ("skimage.data", "motorcycle_left.png"),
    "rocket": ("skimage.data", "rocket.jpg"),
    "page": ("skimage.data", "page.png"),
    "text": ("skimage.data", "text.png"),
    "flower": ("sklearn.datasets", "images/flower.jpg"),
    "pagoda": ("sklearn.datasets", "images/china.jpg"),
}


def pytest_configure() -> None:
    """Look for garbage rarely: with the modules of torch in memory, each look is long."""
    gc.set_threshold(50_000, 20, 50)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(
    item: pytest.Item, nextitem: pytest.Item | None
) -> Generator[None, None, None]:
    """After each file, let the collector pass over what stays: modules, mostly."""
    yield
    if nextitem is None or nextitem.path != item.path:
        gc.collect()
        gc.freeze()


@pytest.fixture
def usual_collector() -> Iterator[None]:
    """Look for garbage as often as usual, for a test that measures memory."""
    rarely = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    yield
    gc.set_threshold(*rarely)


@pytest.fixture(scope="session", autouse=True)
def _unflushed() -> Iterator[None]:
    """Wait for no disk: what is not flushed is lost when the machine stops, which no test does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", os.fstat)
        yield


@pytest.fixture(scope="session")
def photographs() -> dict[str, Path]:
    """Paths of real photographs by what they show."""
    return {
        name: Path(str(files(package))) / path for name, (package, path) in _PHOTOGRAPHS.items()
    }


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """One small Ray for all tests that need one; its GPU is bookkeeping only."""
    import ray

    ray.init(
        address="local",
        num_cpus=2,
        num_gpus=1,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        object_store_memory=256 * 1024 * 1024,
        _node_ip_address="127.0.0.1",
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def object_storage() -> Iterator[ObjectStorage]:
    """One server that speaks S3 for all tests that need one; `reached` lets `s3://` mean it."""
    with running() as storage:
        yield storage


@pytest.fixture
def bucket(object_storage: ObjectStorage) -> Iterator[str]:
    """The URL of an empty bucket, which this process and its children reach."""
    with object_storage.reached():
        yield object_storage.new_bucket()


@pytest.fixture
def watched(object_storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A proxy that counts what is asked of `s3://`, and fails as it is asked to; clients that ask
    again do not wait."""
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.0)
    with proxy_of(object_storage.address) as proxy, reached_at(proxy.address):
        yield proxy


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have clients of `s3://` give up at once."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr("s3fs.S3FileSystem.retries", 1)


@pytest.fixture(params=["local", "ray"])
def runner(request: pytest.FixtureRequest) -> dict[str, object]:
    """Each of the two runners that have processes for workers, as a config."""
    if request.param == "ray":
        request.getfixturevalue("ray_cluster")
        return {"kind": "ray", "workers": 1}
    return {"kind": "local"}


@pytest.fixture(scope="session")
def album(photographs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of twelve small photographs, cut from the real ones."""
    folder = tmp_path_factory.mktemp("album")
    names = ("astronaut", "cat", "cup", "motorcycle", "flower", "pagoda")
    for name in names:
        with Image.open(photographs[name]) as photograph:
            whole = photograph.convert("RGB")
        whole.resize((96, 64)).save(folder / f"{name}.jpg")
        whole.crop((0, 0, 200, 160)).resize((50, 40)).save(folder / f"{name}_corner.png")
    return folder


@pytest.fixture(scope="session")
def small_photographs(
    photographs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder of four small photographs, two of them with text."""
    folder = tmp_path_factory.mktemp("small_photographs")
    for name in ("astronaut", "cat", "motorcycle", "page"):
        with Image.open(photographs[name]) as photograph:
            photograph.convert("RGB").resize((240, 160)).save(folder / f"{name}.jpg")
    return folder


@pytest.fixture(scope="session")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an untrained Florence-2, the tiniest."""
    from florilegium.pipelines.shape_world.pretrain.architecture import (
        TINIEST,
        build_tiny,
        save_tiny,
    )

    folder = tmp_path_factory.mktemp("untrained")
    save_tiny(folder, *build_tiny(["circle", "square"], size=TINIEST))
    gc.collect()
    gc.freeze()  # each training collects garbage, and need not look at the modules of torch
    return folder


@pytest.fixture
def started() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start the command line in a process of its own; what is left at the end is killed."""
    processes: list[subprocess.Popen[str]] = []
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as under nohup; children inherit it
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def start(*arguments: object, **environment: str) -> subprocess.Popen[str]:
        command = [
            sys.executable,
            "-m",
            "florilegium",
        ]
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        process = subprocess.Popen(
            [*command, *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()
