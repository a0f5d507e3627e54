"""Azure's Read feature, asked through Microsoft's client over real HTTP on loopback."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.errors import ConfigError, MissingPackage, SampleError
from florilegium.engine.core.sample import Picture, Sample
from florilegium.engine.core.validity import problem_of
from florilegium.engine.execution.answer import BUDGET_EXHAUSTED
from florilegium.specialists.online import azure_ocr
from florilegium.specialists.online.azure_ocr import AzureOcr, AzureOcrConfig, framed
from florilegium.specialists.online.failure import (
    EMPTY_ANSWER,
    INVALID_ANSWER,
    RATE_LIMITED,
    SERVICE_FAILED,
    TIMED_OUT,
)
from tests.specialists.conftest import SampleOf
from tests.specialists.online.conftest import Opened
from tests.specialists.online.server import (
    Behaviour,
    MisbehavingServer,
    analysis,
    cut,
    garbage,
    line,
    read_result,
    slow,
    status,
)

KEY = "0123456789abcdef-not-to-be-seen"
KEY_VARIABLE = "LOOPBACK_KEY"
SIZE_WH = (400, 200)
STOP = line("STOP HERE", (10, 20, 110, 24, 109, 44, 9, 40), 0.98, 0.9)
HIGH = line("high", (300, 150, 300, 50, 320, 50, 320, 150), 0.5)
DEEP = line("deep", (380, 50, 380, 150, 360, 150, 360, 50), 0.5)

Reading = Callable[..., AzureOcr]


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)


@pytest.fixture
def reading(opened: Opened) -> Reading:
    """Load the specialist with a server as its endpoint."""

    def make(server: MisbehavingServer, **options: Any) -> AzureOcr:
        return opened(AzureOcr(configured(endpoint=server.endpoint, **options)))

    return make


def configured(**options: Any) -> AzureOcrConfig:
    return AzureOcrConfig(**{"backoff_s": 0.01, "api_key_env": KEY_VARIABLE, **options})


@pytest.fixture
def blank(drawing: SampleOf) -> Sample:
    return drawing(np.full((SIZE_WH[1], SIZE_WH[0], 3), 200, np.uint8))


def predicted(specialist: AzureOcr, *samples: Sample) -> list[list[Annotation]]:
    """Ask, and expect answers without an error."""
    answers = specialist.predict(samples)
    assert not [one for one in answers if isinstance(one, SampleError)]
    return answers  # type: ignore[return-value]


def test_lines_become_text_with_quad_box_and_score(reading: Reading, blank: Sample) -> None:
    with MisbehavingServer(analysis(read_result(SIZE_WH, STOP, HIGH, DEEP))) as server:
        ((stop, high, deep),) = predicted(reading(server), blank)
    assert (stop.kind, stop.task, stop.text) == ("region", "ocr", "STOP HERE")
    assert stop.quad == (10, 20, 110, 24, 109, 44, 9, 40)
    assert stop.box_xyxy == (9, 20, 110, 44)
    assert stop.score == pytest.approx(0.94), "the mean of its words"
    assert high.quad[:2] == (300, 150), "the top-left corner of a text that runs upwards"
    assert high.box_xyxy == (300, 50, 320, 150)
    assert high.score == 0.5
    assert deep.quad[:2] == (380, 50), "the top-left corner of a text that runs down"
    assert deep.box_xyxy == (360, 50, 380, 150)


def test_all_blocks_are_read_in_their_order(reading: Reading, blank: Sample) -> None:
    result = read_result(SIZE_WH, HIGH)
    result["readResult"]["blocks"].append({"lines": [STOP]})
    with MisbehavingServer(analysis(result)) as server:
        assert [one.text for one in predicted(reading(server), blank)[0]] == ["high", "STOP HERE"]


def test_an_image_without_text_has_an_empty_answer(reading: Reading, blank: Sample) -> None:
    no_blocks = read_result(SIZE_WH)
    no_blocks["readResult"]["blocks"] = []
    with MisbehavingServer(analysis(no_blocks), analysis(read_result(SIZE_WH))) as server:
        assert predicted(reading(server), blank, blank) == [[], []]
        assert len(server.requests) == 2


def test_lines_below_the_least_score_are_not_said(reading: Reading, blank: Sample) -> None:
    with MisbehavingServer(analysis(read_result(SIZE_WH, STOP, HIGH))) as server:
        assert len(predicted(reading(server, least_score=0.6), blank)[0]) == 1


def test_the_request_is_what_the_service_documents(reading: Reading, blank: Sample) -> None:
    with MisbehavingServer() as server:
        predicted(reading(server, model_version="2024-02-01"), blank)
        (request,) = server.requests
    path, query = request.path.split("?")
    assert path == "/computervision/imageanalysis:analyze"
    assert set(query.split("&")) == {
        "api-version=2023-10-01",
        "features=read",
        "model-version=2024-02-01",
    }
    assert request.headers["ocp-apim-subscription-key"] == KEY
    assert request.headers["content-type"] == "application/octet-stream"
    (seen,) = request.images
    assert (seen.format, seen.size) == ("JPEG", SIZE_WH)
    assert np.abs(np.asarray(seen).astype(int) - blank.image).max() < 3


def test_a_large_image_is_sent_smaller_and_its_quads_are_scaled_back(
    reading: Reading, drawing: SampleOf
) -> None:
    wide = drawing(np.full((300, 900, 3), 90, np.uint8))
    quad = (10, 20, 110, 20, 110, 50, 10, 50)
    with MisbehavingServer(analysis(read_result((300, 100), line("wide", quad, 1.0)))) as server:
        ((one,),) = predicted(reading(server, long_side=300), wide)
        assert server.requests[0].images[0].size == (300, 100)
    assert one.quad == tuple(3.0 * value for value in quad)


def test_a_quad_beyond_the_image_is_cut_at_its_edge(reading: Reading, drawing: SampleOf) -> None:
    tiny = drawing(np.full((20, 30, 3), 90, np.uint8))
    over = line("over", (10, 5, 49, 5, 49, 15, 10, 15), 1.0)
    outside = line("outside", (31, 5, 49, 5, 49, 15, 31, 15), 1.0)
    with MisbehavingServer(analysis(read_result((50, 50), over, outside))) as server:
        ((one,),) = predicted(reading(server), tiny)
    assert one.text == "over"
    assert one.box_xyxy == (10, 5, 30, 15)


def test_every_image_is_sent_in_a_size_that_the_service_takes(
    reading: Reading, awkward: list[Sample], odd_images: list[Sample]
) -> None:
    samples = [*awkward, *odd_images]
    with MisbehavingServer() as server:
        together = predicted(reading(server), *samples)
        sizes = [request.images[0].size for request in server.requests]
        assert together == [predicted(reading(server), sample)[0] for sample in samples]
    assert min(map(min, sizes)) >= 50
    assert max(map(max, sizes)) <= 4000
    for sample, lines in zip(samples, together, strict=True):
        assert lines
        for one in lines:
            assert not problem_of(one, width=sample.width, height=sample.height)


def test_a_small_image_is_widened_by_its_own_edge() -> None:
    pixels = np.zeros((20, 60, 3), np.uint8)
    pixels[-1] = (0, 0, 255)
    frame = framed(pixels, 4000)
    with Image.open(io.BytesIO(frame.data)) as seen:
        assert seen.size == (60, 50)
        assert np.abs(np.asarray(seen)[25:].astype(int) - (0, 0, 255)).max() < 20
    assert frame.scale_xy.tolist() == [1, 1]


def test_a_file_too_large_for_the_service_is_sent_in_lower_quality(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    best = len(framed(noise, 4000).data)
    monkeypatch.setattr(azure_ocr, "_LARGEST_FILE", best - 1)
    assert len(framed(noise, 4000).data) < best
    monkeypatch.setattr(azure_ocr, "_LARGEST_FILE", 100)
    with pytest.raises(SampleError, match="the service accepts 100"):
        framed(noise, 4000)


def test_an_image_that_cannot_be_decoded_fails_alone(reading: Reading, blank: Sample) -> None:
    broken = Sample(key="broken", width=9, height=9, picture=Picture(b"no image"))
    with MisbehavingServer() as server:
        first, second, third = reading(server).predict([blank, broken, blank])
        assert len(server.requests) == 2
    assert first == third
    assert isinstance(second, SampleError)


def strange(**changes: Any) -> Any:
    return read_result(SIZE_WH, {**STOP, **changes})


TROUBLES = {
    "too many requests": (status(429, retry_after=0, message="slowly"), RATE_LIMITED, "slowly"),
    "broken": (status(500, message="oh no"), SERVICE_FAILED, "HTTP 500; oh no"),
    "slow": (slow(0.3), TIMED_OUT, "timeout_s = 0.2"),
    "cut": (cut(), SERVICE_FAILED, "no answer: "),
    "no JSON": (garbage(), INVALID_ANSWER, "JSON is invalid"),
    "nothing read": (
        analysis({"modelVersion": "1", "metadata": {}}),
        EMPTY_ANSWER,
        "no readResult",
    ),
    "a list": (analysis([1]), INVALID_ANSWER, "no result of the Read feature"),
    "three corners": (
        analysis(strange(boundingPolygon=STOP["boundingPolygon"][:3])),
        INVALID_ANSWER,
        "3 corners",
    ),
    "no words": (analysis(strange(words=[])), INVALID_ANSWER, "no words"),
    "no text": (analysis(strange(text=None)), INVALID_ANSWER, "no text"),
    "a score of two": (
        analysis(strange(words=[{**STOP["words"][0], "confidence": 2}])),
        INVALID_ANSWER,
        "score 2",
    ),
}
"""What the service may do once, with the reason and words of the error when it does so always."""


def patience(order: Behaviour) -> float:
    """Return a time-out in seconds: short only where the server is to be too slow for it."""
    return 0.2 if order.delay_s else 20


@pytest.mark.parametrize("name", TROUBLES)
def test_what_may_pass_is_asked_again(name: str, reading: Reading, blank: Sample) -> None:
    trouble, _, _ = TROUBLES[name]
    with MisbehavingServer(trouble, analysis(read_result(SIZE_WH, STOP))) as server:
        ((one,),) = predicted(reading(server, timeout_s=patience(trouble)), blank)
        assert len(server.requests) == 2
    assert one.text == "STOP HERE"


@pytest.mark.parametrize("name", TROUBLES)
def test_what_does_not_pass_is_an_error_with_its_reason(
    name: str, reading: Reading, blank: Sample
) -> None:
    trouble, reason, reported = TROUBLES[name]
    with MisbehavingServer(trouble, trouble) as server:
        specialist = reading(server, timeout_s=patience(trouble), attempts=2)
        (answer,) = specialist.predict([blank])
        assert len(server.requests) == 2, "the client's own retries are off"
    assert isinstance(answer, SampleError)
    assert answer.reason == reason
    assert reported in str(answer)


@pytest.mark.parametrize(
    ("code", "reported"),
    [
        (400, "check this image"),
        (401, "the environment variable"),
        (403, "its region"),
        (404, "the URL"),
    ],
)
def test_a_refused_request_is_not_retried_and_names_its_remedy(
    code: int, reported: str, reading: Reading, blank: Sample
) -> None:
    with MisbehavingServer(status(code, message="no such thing")) as server:
        (answer,) = reading(server).predict([blank])
        assert len(server.requests) == 1
    assert isinstance(answer, SampleError)
    assert answer.reason == SERVICE_FAILED
    assert reported in str(answer)
    assert "no such thing" in str(answer)


def test_retry_after_is_honoured(reading: Reading, blank: Sample) -> None:
    with MisbehavingServer(status(429, retry_after=0.25)) as server:
        predicted(reading(server), blank)
        first, second = server.requests
    assert second.began - first.began >= 0.25


def test_the_key_does_not_follow_a_redirect(reading: Reading, blank: Sample) -> None:
    with MisbehavingServer() as elsewhere:
        away = Behaviour(status=307, headers=(("Location", elsewhere.endpoint),), body=b"{}")
        with MisbehavingServer(away) as server:
            (answer,) = reading(server).predict([blank])
        assert not elsewhere.requests
    assert isinstance(answer, SampleError)
    assert "HTTP 307" in str(answer)


def test_the_key_is_in_no_message_and_no_log(
    reading: Reading, blank: Sample, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    echo = f"Access denied due to invalid subscription key {KEY}"
    troubles = [status(400, message=echo), status(500, message=echo)]
    with MisbehavingServer(*troubles) as server:
        answers = reading(server, attempts=1, concurrency=1).predict([blank] * 3)
    assert "invalid subscription key [key]" in str(answers[0])
    assert KEY not in f"{answers!r} {[str(answer) for answer in answers]}"
    assert KEY not in caplog.text


def test_a_budget_is_kept(reading: Reading, blank: Sample) -> None:
    with MisbehavingServer(delay_s=0.01) as server:
        specialist = reading(server, max_cost=0.004, price_per_request=0.001)
        answers = specialist.predict([blank] * 9)
        assert len(server.requests) == 4
    spent = [one for one in answers if isinstance(one, SampleError)]
    assert [one.reason for one in spent] == [BUDGET_EXHAUSTED] * 5


@pytest.mark.parametrize(
    ("options", "reported"),
    [
        ({"endpoint": ""}, r"endpoint is empty: .*cognitiveservices\.azure\.com"),
        ({"endpoint": "my-resource"}, "endpoint = 'my-resource' is no URL"),
        ({"api_key_env": ""}, "the service needs a key"),
        ({"api_key_env": "SURELY_NOT_SET"}, "SURELY_NOT_SET"),
        ({"max_cost": 1.0}, "all prices are 0"),
    ],
)
def test_invalid_options_fail_before_the_run(options: dict[str, Any], reported: str) -> None:
    everything = {"endpoint": "https://name.cognitiveservices.azure.com", **options}
    with pytest.raises(ConfigError, match=reported):
        AzureOcr(configured(**everything)).revision()


def test_a_missing_package_is_found_before_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(azure_ocr, "_PACKAGE", "azure-of-another-kind")
    with pytest.raises(MissingPackage, match=r"pip install 'florilegium\[azure\]'"):
        AzureOcr(configured(endpoint="https://name.cognitiveservices.azure.com")).revision()


def test_who_reads_is_known_before_the_run() -> None:
    one = AzureOcr(configured(endpoint="https://a.example.com", model_version="2024-02-01"))
    other = AzureOcr(configured(endpoint="https://b.example.com", model_version="2024-02-01"))
    assert one.model == "azure-ai-vision read"
    assert one.revision() == other.revision() == "2023-10-01 2024-02-01"
