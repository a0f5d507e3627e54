"""What each extra is for, done once in small. Imports of the extra are within its job."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.request import HTTPCookieProcessor, build_opener

from tests.extras.storages import S3, Azure, GoogleCloud, serve, write_and_read

ROOT = Path(__file__).parents[2]


def without() -> None:
    """Build, verify and look at a dataset with stages that need no extra; others say what to do."""
    build("shape_world://4?seed=1", {"shapes_colour": {}})
    text = florilegium("build", ROOT / "configs" / "quickstart.yaml", "--dry-run", code=2)
    assert "pip install 'florilegium[photographs,starter]'" in text, text
    assert "rapidocr" in text, text
    assert "py3langid" in text, text
    text = florilegium("refine", ROOT / "configs" / "known_truth.yaml", "--dry-run", code=2)
    assert "pip install 'florilegium[refine,starter]'" in text, text
    text = florilegium("build", ROOT / "configs" / "cluster.yaml", "--dry-run", code=2)
    assert "pip install 'florilegium[s3,starter]'" in text, text


def starter() -> None:
    """Build the quickstart over two pictures."""
    folder = pictures()
    output = folder.parent / "out"
    config = ROOT / "configs" / "quickstart.yaml"
    florilegium("build", config, "--source", folder, "--output", output, "--runner", "local")
    text = (output / "manifest.json").read_text("utf-8")
    totals = json.loads(text)["totals"]
    assert (totals["samples"], totals["dead_letters"]) == (2, 0), text
    assert {"ocr", "caption", "region_proposal"} <= totals["tasks"].keys(), text
    florilegium("verify", output)


def refine() -> None:
    """Label, train a student in a worker of Ray Train, relabel, merge and score."""
    from tests.end_to_end.refinement import write_refinement

    folder = scratch()
    train = {"workers": 1}
    config = write_refinement(folder / "refine.yaml", folder / "out", train=train)
    florilegium("refine", config, "--dry-run")
    florilegium("refine", config)
    rounds = sorted(path.name for path in (folder / "out" / "rounds").iterdir())
    assert rounds == ["0", "1"], rounds
    florilegium("score", folder / "out")


def online() -> None:
    """Let an annotator on loopback describe two pictures."""
    from tests.checkpoints.lmm_caption import options

    build(pictures(), {"annotator": {"use": "lmm_caption", **options(scratch()), "reads": []}})


def azure() -> None:
    """Have two pictures read by the service on loopback."""
    from tests.checkpoints.azure_ocr import options

    build(pictures(), {"text": {"use": "azure_ocr", **options(scratch())}})


def sentencepiece() -> None:
    """Read names with the tokenizer of the first SigLIP."""
    import sentencepiece as pieces
    from transformers import SiglipTokenizer

    names = ["a cat", "a dog", "a lamp on a table"]
    folder = scratch()
    pieces.SentencePieceTrainer.train(
        sentence_iterator=iter(names * 10),
        model_prefix=str(folder / "spiece"),
        vocab_size=16,
        minloglevel=2,
        bos_id=-1,
        pad_id=-1,
    )
    tokenizer = SiglipTokenizer(str(folder / "spiece.model"))
    assert tokenizer("a cat").input_ids != tokenizer("a dog").input_ids


def torchvision() -> None:
    """Find and read lines with models whose images torchvision prepares."""
    import num2words

    import tests.torchvision.operators  # noqa: F401  (before transformers)
    from tests.checkpoints.pp_ocr import options

    assert num2words.num2words(2) == "two"
    build(pictures(), {"text": {"use": "pp_ocr", **options(scratch()), "least_score": 0.0}})


def s3() -> None:
    """Write, find and read files of a bucket."""
    os.environ["AWS_ENDPOINT_URL"] = serve(S3)
    os.environ |= {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
    os.environ["AWS_DEFAULT_REGION"] = "us-east-1"
    os.environ["AWS_REQUEST_CHECKSUM_CALCULATION"] = "when_required"  # a body without chunks
    write_and_read("s3://bucket/dataset")
    assert "/bucket/dataset/shards/000000.tar" in S3.files, S3.files


def gs() -> None:
    """Write, find and read files of a bucket of Google Cloud Storage."""
    os.environ["STORAGE_EMULATOR_HOST"] = serve(GoogleCloud)
    os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "false"  # no look at kinds of buckets
    write_and_read("gs://bucket/dataset")
    assert "dataset/shards/000000.tar" in GoogleCloud.files, GoogleCloud.files


def az() -> None:
    """Write, find and read blobs of a container of Azure Blob Storage."""
    os.environ["AZURE_STORAGE_CONNECTION_STRING"] = (
        "DefaultEndpointsProtocol=http;AccountName=account;AccountKey=a2V5;"
        f"BlobEndpoint={serve(Azure)}/account;"
    )
    write_and_read("az://container/dataset")
    assert "/account/container/dataset/shards/000000.tar" in Azure.files, Azure.files


def metrics() -> None:
    """Build with a file of metrics, and read it as Prometheus does."""
    from prometheus_client.parser import text_string_to_metric_families

    from florilegium.engine.execution.preparation import prepare
    from florilegium.pipelines.build import build_dataset
    from tests.building import configure

    folder = scratch()
    os.environ["FLORILEGIUM_METRICS_FILE"] = str(folder / "shapes.prom")
    source, stages = "shape_world://4?seed=1", {"shapes_colour": {}}
    build_dataset(prepare(configure(source, folder / "out", specialists=stages)))
    text = (folder / "shapes.prom").read_text("utf-8")
    families = {family.name: family for family in text_string_to_metric_families(text)}
    samples = families["florilegium_inputs"].samples
    counts = {one.labels["outcome"]: one.value for one in samples if one.name.endswith("_total")}
    assert counts == {"sample": 4, "dead_letter": 0}, text


def cluster() -> None:
    """Submit a build to the job server of a Ray that was started for it, and wait for its end."""
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token"}  # read on import
    os.environ |= {"RAY_AUTH_TOKEN": "0123456789abcdef" * 4, "PYTHONPATH": str(ROOT)}
    import ray

    context = ray.init(
        address="local",
        num_cpus=1,
        include_dashboard=True,
        dashboard_port=0,
        log_to_driver=False,
        _node_ip_address="127.0.0.1",
    )
    folder = scratch()
    config = folder / "config.yaml"
    stages = "specialists: {shapes_colour: }\nshard_size: 2\nsource: shape_world://4?seed=1\n"
    config.write_text(f"{stages}output: {folder / 'out'}\n", "utf-8")
    submit = ("submit", config, "--address", f"http://{context.dashboard_url}", "--wait")
    text = florilegium(*submit)
    assert "SUCCEEDED, exit code 0" in text, text
    florilegium("verify", folder / "out")
    florilegium(*submit, "--set", "specialists.shapes_colour.no_such_option=1", code=2)
    ray.shutdown()


def tracing() -> None:
    """Build with a collector on loopback, which gets the spans of the run."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    from tests.receiver import Receiver

    with Receiver() as receiver:
        os.environ |= {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "NO_PROXY": "127.0.0.1"}
        output = scratch() / "out"
        florilegium("build", scenes(), "--output", output, "--runner", "local")
    requests = [ExportTraceServiceRequest.FromString(one.body) for one in receiver.received]
    spans = [
        span
        for request in requests
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    names = {span.name for span in spans}
    assert {"build", "shard", "call", "stage shapes_colour"} <= names, names


def lineage() -> None:
    """Build with a catalogue on loopback, which gets the events of the run."""
    from tests.receiver import Receiver

    with Receiver() as receiver:
        os.environ |= {"OPENLINEAGE_URL": receiver.url, "NO_PROXY": "127.0.0.1"}
        output = scratch() / "out"
        florilegium("build", scenes(), "--output", output, "--runner", "local")
    events = [received.json for received in receiver.received]
    assert [event["eventType"] for event in events] == ["START", "COMPLETE"], events
    assert events[1]["outputs"][0]["name"] == str(output), events


def photographs() -> None:
    """Build over the photographs of the quickstart."""
    import yaml

    sources = yaml.safe_load((ROOT / "configs" / "quickstart.yaml").read_text("utf-8"))["source"]
    build(sources, {"shapes_colour": {}}, samples=7)


def heic() -> None:
    """Build over a photograph as phones take it."""
    from PIL import Image
    from pillow_heif import from_pillow

    folder = scratch() / "phone"
    folder.mkdir()
    from_pillow(Image.new("RGB", (64, 48), "teal")).save(folder / "photo.heic")
    build(folder, {"bright": {"use": "tests.stages:Brightest"}}, samples=1)


def signing() -> None:
    """Sign a dataset with a key that was made for it, and check the signature."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
    )

    output = build("shape_world://4?seed=1", {"shapes_colour": {}})
    key = Ed25519PrivateKey.generate()
    private, public = output.parent / "key.pem", output.parent / "key.pub"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    florilegium("sign", output, "--key", private)
    florilegium("verify", output, "--public-key", public)


def page() -> None:
    """Open the page of a dataset, and ask for an image of it."""
    output = build("shape_world://4?seed=1", {"shapes_colour": {}})
    command = [sys.executable, "-m", "florilegium", "serve", str(output)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        try:
            with build_opener(HTTPCookieProcessor()).open(url) as answer:
                assert answer.status == 200, answer.status
                assert "<title>" in answer.read().decode()
        finally:
            server.send_signal(signal.SIGINT)


JOBS: Mapping[str, Callable[[], None]] = {
    "": without,
    "starter": starter,
    "refine": refine,
    "online": online,
    "azure": azure,
    "sentencepiece": sentencepiece,
    "torchvision": torchvision,
    "s3": s3,
    "gs": gs,
    "az": az,
    "metrics": metrics,
    "cluster": cluster,
    "tracing": tracing,
    "lineage": lineage,
    "photographs": photographs,
    "heic": heic,
    "signing": signing,
    "serve": page,
}
"""By extra; the first is tried without any."""


def scratch() -> Path:
    """Return an empty folder."""
    return Path(tempfile.mkdtemp(prefix="florilegium-"))


def scenes() -> Path:
    """Write a config over four drawn scenes."""
    config = scratch() / "config.yaml"
    stages = "specialists: {shapes_colour: }\nsource: shape_world://4?seed=1\n"
    config.write_text(stages, "utf-8")
    return config


def pictures() -> Path:
    """Draw two pictures with words in them."""
    from PIL import Image, ImageDraw, ImageFont

    folder = scratch() / "pictures"
    folder.mkdir()
    for name, colour in (("STOP", (190, 30, 30)), ("EXIT", (30, 120, 60))):
        image = Image.new("RGB", (320, 240), (230, 230, 225))
        draw = ImageDraw.Draw(image)
        draw.rectangle((60, 60, 260, 180), fill=colour)
        draw.text((95, 90), name, fill="white", font=ImageFont.load_default(56))
        image.save(folder / f"{name.lower()}.png")
    return folder


def build(source: Any, specialists: Mapping[str, Any], *, samples: int | None = None) -> Path:
    """Build a dataset in this process, verify it and return its folder."""
    from florilegium.engine.storage.folder import Folder
    from florilegium.pipelines.verify.verify import verify_dataset
    from tests.building import build as build_dataset

    output = scratch() / "out"
    manifest = build_dataset(source, output, specialists=dict(specialists))
    assert not manifest.totals.dead_letters, list(manifest.dead_letters)
    assert manifest.totals.samples == (samples or manifest.totals.samples) > 0
    assert manifest.totals.specialists, "no message"
    assert not list(verify_dataset(Folder(str(output))))
    return output


def florilegium(*arguments: object, code: int = 0) -> str:
    """Run a command of ours and return what it prints; another exit code is an error."""
    command = [sys.executable, "-m", "florilegium"]
    done = subprocess.run(
        [*command, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True
    )
    text = done.stdout + done.stderr
    assert done.returncode == code, f"exit {done.returncode}\n{text}"
    return text
