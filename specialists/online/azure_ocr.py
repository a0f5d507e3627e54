"""OCR by the Read feature of Azure AI Vision (Image Analysis 4.0), through Microsoft's client, the
package `azure-ai-vision-imageanalysis`.

The client's own retries and redirects are off: `service` does rate limits, retries and budget.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Annotated, ClassVar, NamedTuple

import numpy as np
from pydantic import Field

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.errors import ConfigError, MissingPackage, SampleError
from florilegium.engine.core.image.resizing import shrunk
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.spent import Spent
from florilegium.engine.core.stage import RUNTIME, Specialist, StageConfig
from florilegium.specialists.ocr.text_lines import has_area, line
from florilegium.specialists.online.address import host_of, read_key
from florilegium.specialists.online.failure import (
    EMPTY_ANSWER,
    INVALID_ANSWER,
    SERVICE_FAILED,
    Failure,
    broken_connection,
    refusal,
)
from florilegium.specialists.online.photo import jpeg
from florilegium.specialists.online.service import Priced, Service, ServiceConfig

if TYPE_CHECKING:
    from azure.ai.vision.imageanalysis.models import DetectedTextLine, ImageAnalysisResult

_PACKAGE = "azure-ai-vision-imageanalysis"
_API = "2023-10-01"
_MIN_SIDE = 50
_LARGEST_SIDE = 16_000
_LARGEST_FILE = 20 * 1024 * 1024
"""Limits of the service (Image Analysis 4.0, "Image requirements"): pixels per side, bytes."""
_QUALITIES = (95, 85, 70, 50)
"""JPEG qualities; the first that gives a small enough file is used."""


class AzureOcrConfig(ServiceConfig):
    """Options of `azure_ocr`."""

    address_option: ClassVar[str] = "endpoint"
    endpoint: Annotated[str, RUNTIME] = Field(
        default="", examples=["https://NAME.cognitiveservices.azure.com"]
    )
    """Address of the resource, `https://NAME.cognitiveservices.azure.com`."""
    api_key_env: Annotated[str, RUNTIME] = "VISION_KEY"
    """Name of the environment variable with a key of the resource."""
    model_version: str = "latest"
    """Release of the service's model, `latest` or a date; `latest` may change at any time."""
    long_side: int = Field(default=4000, ge=_MIN_SIDE, le=_LARGEST_SIDE)
    """Maximum pixels of the long side of the image that is sent."""
    least_score: float = Field(default=0.0, ge=0, le=1)
    """Minimum score of a line, 0..1."""


class SentImage(NamedTuple):
    """The file that is sent; a point p of its image is at p * scale in the sample."""

    data: bytes
    scale_xy: np.ndarray


class AzureOcr(Specialist[AzureOcrConfig]):
    """Lines of text in the order of the service: text, quad, the quad's hull as box, score.

    By the service's documentation its quads are clockwise from the left of the text: they start at
    the top left of the text, in any direction. The service scores words: a line's score is the mean
    over its words.
    """

    Config: ClassVar[type[StageConfig]] = AzureOcrConfig
    produces: tuple[str, ...] = ("ocr",)
    needs: ClassVar[tuple[str, ...]] = ("azure", "aiohttp")
    extra: ClassVar[str] = "azure"
    is_remote: ClassVar[bool] = True
    calls_at_once: ClassVar[int] = 4

    @property
    def model(self) -> str:
        """The service."""
        return "azure-ai-vision read"

    def revision(self) -> str:
        """Name the version of the interface and of the model.

        Raises:
            ConfigError: the endpoint or the key is missing, or the budget makes no sense.
            MissingPackage: other packages of Azure are installed, but not this one.
        """
        if not self.config.endpoint:
            raise ConfigError(
                "endpoint is empty: give the address of your Azure AI Vision resource, "
                "https://NAME.cognitiveservices.azure.com"
            )
        host_of(self.config.endpoint, option="endpoint")
        if not self.config.api_key_env:
            raise ConfigError(
                "api_key_env is empty: the service needs a key; name its environment variable"
            )
        read_key(self.config.api_key_env)
        self.config.check_budget()
        try:
            version(_PACKAGE)
        except PackageNotFoundError:
            raise MissingPackage(
                f"azure_ocr needs {_PACKAGE}, not installed: pip install 'florilegium[azure]'",
                install="florilegium[azure]",
            ) from None
        return f"{_API} {self.config.model_version}"

    def load(self) -> None:
        """Open the client; no request is sent yet."""
        self.service = ReadService(self.config)

    def spent(self) -> Spent:
        return self.service.budget.spent

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation] | SampleError]:
        """Send the images, several at once."""
        frames = [self._frame(sample) for sample in samples]
        sent = [frame.data for frame in frames if isinstance(frame, SentImage)]
        results = iter(self.service.read(sent))
        return [
            self._annotations(sample, frame, next(results))
            if isinstance(frame, SentImage)
            else frame
            for sample, frame in zip(samples, frames, strict=True)
        ]

    def _frame(self, sample: Sample) -> SentImage | SampleError:
        try:
            return framed(sample.image, self.config.long_side)
        except SampleError as error:
            return error

    def _annotations(
        self, sample: Sample, frame: SentImage, lines: list[ReadLine] | SampleError
    ) -> list[Annotation] | SampleError:
        if isinstance(lines, SampleError):
            return lines
        quads = [
            np.clip(one.quad * frame.scale_xy, 0, (sample.width, sample.height)) for one in lines
        ]
        return [
            line(one.text, quad, one.score)
            for one, quad in zip(lines, quads, strict=True)
            if one.score >= self.config.least_score and has_area(quad)
        ]


def framed(pixels: np.ndarray, long_side: int) -> SentImage:
    """Prepare an image for the service: shrink large ones, pad small ones with their edge.

    Args:
        pixels: RGB, uint8, (height, width, 3).
        long_side: maximum pixels of its long side.

    Raises:
        SampleError: the file is too large even in the lowest quality.
    """
    import cv2

    height, width = pixels.shape[:2]
    small = shrunk(pixels, long_side)
    size_wh = small.shape[1::-1]
    right, bottom = (max(0, _MIN_SIDE - side) for side in size_wh)
    padded = cv2.copyMakeBorder(small, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
    for quality in _QUALITIES:
        data = jpeg(padded, long_side, quality)
        if len(data) <= _LARGEST_FILE:
            return SentImage(data=data, scale_xy=np.array((width, height)) / size_wh)
    raise SampleError(
        SERVICE_FAILED, f"the file has {len(data)} bytes, the service accepts {_LARGEST_FILE}"
    )


class ReadLine(NamedTuple):
    """A line from the service; the quad, (4, 2), in pixels of the image that was sent."""

    text: str
    quad: np.ndarray
    score: float


class ReadService(Service):
    """One resource of Azure AI Vision."""

    def __init__(self, config: AzureOcrConfig) -> None:
        from azure.ai.vision.imageanalysis.aio import ImageAnalysisClient
        from azure.core.credentials import AzureKeyCredential
        from azure.core.pipeline.policies import AsyncRedirectPolicy, AsyncRetryPolicy

        from florilegium.specialists.online.azure_transport import BoundedTransport

        key = read_key(config.api_key_env)
        if key is None:
            raise ConfigError(
                "api_key_env is empty: the service needs a key; name its environment variable"
            )
        self._client = ImageAnalysisClient(
            config.endpoint.rstrip("/"),
            AzureKeyCredential(key.get_secret_value()),
            api_version=_API,
            retry_policy=AsyncRetryPolicy.no_retries(),
            redirect_policy=AsyncRedirectPolicy.no_redirects(),
            transport=BoundedTransport(config),
            # Our own timeout comes first; its error names the option.
            connection_timeout=2 * config.timeout_s,
            read_timeout=2 * config.timeout_s,
        )
        self._model_version = config.model_version
        super().__init__(config, self._client, key)

    def read(self, images: Sequence[bytes]) -> list[list[ReadLine] | SampleError]:
        """Return the lines of text in each image file."""
        return self.ask([partial(self._read, data) for data in images])

    async def _read(self, data: bytes) -> Priced[list[ReadLine]]:
        from azure.ai.vision.imageanalysis.models import VisualFeatures
        from azure.core.exceptions import AzureError, DecodeError, HttpResponseError

        try:
            result = await self._client.analyze(
                data, [VisualFeatures.READ], model_version=self._model_version
            )
        except AzureError as error:
            response = error.response if isinstance(error, HttpResponseError) else None
            if response is None:
                raise broken_connection(error) from None
            is_success = 200 <= response.status_code < 300
            if isinstance(error, DecodeError) and is_success:
                raise Failure(INVALID_ANSWER, error.message, is_passing=True) from None
            body = response.text()
            raise refusal(response.status_code, response.headers, body, self.redacted) from None
        except RecursionError:
            raise Failure(INVALID_ANSWER, "the JSON is nested too deep") from None
        return Priced(value=_lines_in(result))


def _lines_in(result: ImageAnalysisResult) -> list[ReadLine]:
    try:
        read = result.read
        if read is None:
            raise Failure(EMPTY_ANSWER, "the answer has no readResult", is_passing=True)
        return [_line(one) for block in read.blocks for one in block.lines]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        message = f"no result of the Read feature: {type(error).__name__}: {error}"
        raise Failure(INVALID_ANSWER, message, is_passing=True) from None


def _line(one: DetectedTextLine) -> ReadLine:
    if not isinstance(one.text, str) or not one.text.strip():
        raise ValueError("a line with no text")
    if not one.words:
        raise ValueError("a line with no words has no score")
    quad = np.array([(corner.x, corner.y) for corner in one.bounding_polygon], dtype=float)
    score = float(np.mean([word.confidence for word in one.words]))
    if quad.shape != (4, 2) or not np.isfinite(quad).all():
        raise ValueError(f"a line of {len(quad)} corners: {quad.tolist()}")
    if not 0 <= score <= 1:
        raise ValueError(f"a line with score {score:g}")
    return ReadLine(text=one.text, quad=quad, score=score)
