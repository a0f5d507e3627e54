"""A client of OpenAI-compatible `/chat/completions` with images: vLLM, llama.cpp, OpenAI, Azure
OpenAI v1 and others (OpenAI API reference, "Chat completions").

Converts messages to requests and answers to text.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import Field

from florilegium.engine.core.errors import ConfigError, SampleError
from florilegium.engine.core.spent import Spent
from florilegium.engine.core.stage import RUNTIME, Specialist
from florilegium.specialists.online.address import host_of, read_key
from florilegium.specialists.online.budget import Limits, Prices
from florilegium.specialists.online.exchange import Exchange
from florilegium.specialists.online.failure import (
    EMPTY_ANSWER,
    INVALID_ANSWER,
    SERVICE_FAILED,
    TIMED_OUT,
    Failure,
    refusal,
)
from florilegium.specialists.online.service import Priced, Service, ServiceConfig

_MODELS_TIMEOUT_S = 10.0
"""Timeout of the request for the list of models."""

MAX_CHARACTERS = 100_000
"""Maximum characters of an answer, reasoning included."""
MAX_TOKENS = 100_000_000
"""Maximum plausible tokens of one request."""
NONSENSE = -1
"""Stands for a count of tokens that is no plausible number."""
_NO_BUDGET = ", so that a budget of tokens or money cannot be kept: limit max_requests instead"

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Image:
    """An image to send: the bytes of a file and their media type."""

    data: bytes
    media_type: str = "image/jpeg"

    @property
    def url(self) -> str:
        """The whole image as a data URL (RFC 2397)."""
        return f"data:{self.media_type};base64,{base64.b64encode(self.data).decode('ascii')}"


@dataclass(frozen=True, slots=True)
class Message:
    """A message of one role: texts and images in order."""

    role: Role
    parts: tuple[str | Image, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the message in the protocol's JSON; a single text is sent without a list."""
        if len(self.parts) == 1 and isinstance(self.parts[0], str):
            return {"role": self.role, "content": self.parts[0]}
        return {"role": self.role, "content": [_part_as_json(part) for part in self.parts]}


def _part_as_json(part: str | Image) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    return {"type": "image_url", "image_url": {"url": part.url}}


class ChatConfig(ServiceConfig):
    """Options of a chat model."""

    url: Annotated[str, RUNTIME] = "http://127.0.0.1:8000/v1"
    """Address before `/chat/completions`; by default a vLLM server on this machine. Without
    `release`, another host counts as another model."""
    model: str = "Qwen/Qwen3-VL-8B-Instruct"
    """Name of the model in the service."""
    release: str = ""
    """The exact release that the service runs (a commit, a date), if you know it; by default the
    service's host is used, so that another host counts as another model."""
    api_key_env: Annotated[str, RUNTIME] = ""
    """Name of the environment variable with the key; empty for a service without keys."""
    temperature: float | None = Field(default=0.0, ge=0, le=2)
    """Sampling temperature, 0..2; `null` leaves it to the service."""
    max_tokens: int | None = Field(default=512, ge=1)
    """Maximum tokens of an answer; an answer that reaches it is an error."""
    seed: int | None = 0
    """Seed sent to the service; `null` sends none."""
    extra: dict[str, Any] = Field(default={})
    """Further keys of the request, as documented by the service; `null` removes a key."""
    max_tokens_spent: Annotated[int | None, RUNTIME, Field(ge=0)] = None
    """Maximum tokens in one run, in and out together; by default unlimited."""
    price_million_tokens_in: Annotated[float, RUNTIME, Field(ge=0)] = 0.0
    """Price of a million input tokens, images included."""
    price_million_tokens_out: Annotated[float, RUNTIME, Field(ge=0)] = 0.0
    """Price of a million output tokens."""

    @property
    def limits(self) -> Limits:
        """The budget of one run."""
        return Limits(requests=self.max_requests, tokens=self.max_tokens_spent, cost=self.max_cost)

    @property
    def prices(self) -> Prices:
        """The prices of the service."""
        return Prices(
            request=self.price_per_request,
            million_tokens_in=self.price_million_tokens_in,
            million_tokens_out=self.price_million_tokens_out,
        )

    @property
    def needs_usage(self) -> bool:
        """Whether the budget depends on the service's count of tokens."""
        limits = self.limits
        return limits.tokens is not None or (limits.cost is not None and self.prices.charges_tokens)


class ChatService(Service):
    """One model at one address."""

    def __init__(self, config: ChatConfig) -> None:
        key = read_key(config.api_key_env)
        self._exchange = Exchange(config.url, key, config)
        self._chat = config
        super().__init__(config, self._exchange, key)

    def answer(self, conversations: Sequence[Sequence[Message]]) -> list[str | SampleError]:
        """Return the model's answer to each conversation, stripped, or an error.

        An answer that was cut off or is empty is an error.
        """
        return self.ask([partial(self._complete, messages) for messages in conversations])

    def check_reachable(self) -> None:
        """Request the list of models, which is free, to detect a service that is down.

        Not every service has such a list: only a missing answer and a refused key count.

        Raises:
            ConfigError: the service does not answer, or refuses the key.
        """
        failure = self._loop.run(self._ask_for_models())
        if failure:
            self.close()
            raise ConfigError(
                f"the service at url = {self._chat.url!r} cannot be used: "
                f"{self.redacted(failure.message)}; start it, or correct url and key"
            )

    async def _ask_for_models(self) -> Failure | None:
        try:
            async with asyncio.timeout(_MODELS_TIMEOUT_S):
                answer = await self._exchange.ask("GET", "/models")
        except TimeoutError:
            return Failure(TIMED_OUT, f"no answer within {_MODELS_TIMEOUT_S:g} s")
        except Failure as failure:
            return None if failure.reason == INVALID_ANSWER else failure
        if answer.status != 401:
            return None
        return refusal(answer.status, answer.headers, answer.body, self.redacted)

    async def _complete(self, messages: Sequence[Message]) -> Priced[str]:
        answer = await self._exchange.ask("POST", "/chat/completions", self._request(messages))
        if not answer.is_success:
            raise refusal(answer.status, answer.headers, answer.body, self.redacted)
        return self._read(answer.body)

    def _request(self, messages: Sequence[Message]) -> dict[str, Any]:
        config = self._chat
        request = {
            "model": config.model,
            "messages": [message.as_json() for message in messages],
            "temperature": config.temperature,
            "max_tokens": config.max_tokens,
            "seed": config.seed,
            **config.extra,
        }
        return {name: value for name, value in request.items() if value is not None}

    def _read(self, body: bytes) -> Priced[str]:
        try:
            document = json.loads(body)
            usage, choice = document.get("usage"), document["choices"][0]
            content, finish = choice["message"].get("content"), choice.get("finish_reason")
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            shown = self.redacted(body.decode("utf-8", "replace"))[:200]
            message = f"no chat completion but {shown!r}"
            raise Failure(INVALID_ANSWER, message, is_passing=True) from None
        tokens = self._tokens(usage)
        if finish == "length":
            message = f"the answer was cut off at max_tokens = {self._chat.max_tokens}: raise it"
            raise Failure(INVALID_ANSWER, message, tokens=tokens)
        if finish == "content_filter":
            raise Failure(
                SERVICE_FAILED, "the service's content filter blocked the answer", tokens=tokens
            )
        text = self.without_key(_text(content)).strip()
        if not text:
            raise Failure(EMPTY_ANSWER, "the answer has no text", is_passing=True, tokens=tokens)
        if len(text) > MAX_CHARACTERS:
            message = f"the answer has {len(text)} characters, more than {MAX_CHARACTERS}"
            raise Failure(INVALID_ANSWER, message, tokens=tokens)
        return Priced(value=text, tokens_in=tokens[0], tokens_out=tokens[1])

    def _tokens(self, usage: object) -> tuple[int, int]:
        """Return the charged tokens, in and out.

        An answer whose usage is no whole number, or an implausible one, is invalid. If a budget of
        tokens or money depends on the count, a missing or invalid one stops all requests.
        """
        needed = self._chat.needs_usage
        counts = [_count(usage, name) for name in ("prompt_tokens", "completion_tokens")]
        if NONSENSE in counts:
            message = f"the answer's usage is no number of tokens: {str(usage)[:200]}"
            raise Failure(INVALID_ANSWER, f"{message}{_NO_BUDGET * needed}", stops_all=needed)
        if needed and 0 in counts:
            raise Failure(
                SERVICE_FAILED, f"the service reports no usage{_NO_BUDGET}", stops_all=True
            )
        return counts[0], counts[1]


def _count(usage: object, name: str) -> int:
    """Return a count of tokens; 0 if it is missing, `NONSENSE` if it is no plausible number."""
    if usage is None:
        return 0
    count: Any = usage.get(name) if isinstance(usage, dict) else usage
    if count is None:
        return 0
    is_number = isinstance(count, int) and not isinstance(count, bool)
    return count if is_number and 0 <= count <= MAX_TOKENS else NONSENSE


def _text(content: object) -> str:
    """Return the text of a message; some services answer with a list of parts."""
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        return "".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""


ChatT = TypeVar("ChatT", bound=ChatConfig)


class ChatSpecialist(Specialist[ChatT]):
    """A specialist with a chat model; `service` is set by `load`.

    No request is sent before that: the model is identified by its name, and by the option `release`
    or the host.
    """

    needs: ClassVar[tuple[str, ...]] = ("httpx",)
    extra: ClassVar[str] = "online"
    is_remote: ClassVar[bool] = True
    calls_at_once: ClassVar[int] = 4
    service: ChatService

    @property
    def model(self) -> str:
        """The name of the model in the service."""
        return self.config.model

    def revision(self) -> str:
        """Name the release or the host.

        Raises:
            ConfigError: the key is not in the environment, or the options make no sense.
        """
        self.config.check_budget()
        read_key(self.config.api_key_env)
        host = host_of(self.config.url)
        if not self.config.model:
            raise ConfigError("model is empty: give its name in the service at url")
        return self.config.release or host

    def load(self) -> None:
        """Open the connection, and check that the service answers; this is free.

        Raises:
            ConfigError: the service does not answer, or refuses the key.
        """
        self.service = ChatService(self.config)
        self.service.check_reachable()

    def spent(self) -> Spent:
        return self.service.budget.spent
