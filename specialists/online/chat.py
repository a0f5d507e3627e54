"""Conversations with images over the OpenAI-compatible `/chat/completions`: vLLM, llama.cpp,
OpenAI, Azure OpenAI v1 and whoever else speaks it (OpenAI API reference, "Chat completions").

Turns messages into requests and answers into text; what is asked, and what the text means, is
the business of the stages.
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

from engine.core.errors import ConfigError, SampleError
from engine.core.stage import RUNTIME, Specialist
from specialists.online.address import host_of, read_key
from specialists.online.budget import Limits, Prices
from specialists.online.exchange import Exchange
from specialists.online.failure import (
    EMPTY_ANSWER,
    INVALID_ANSWER,
    SERVICE_FAILED,
    TIMED_OUT,
    Failure,
    refusal,
)
from specialists.online.service import Priced, Service, ServiceConfig

_GREETING_S = 10.0
"""Seconds in which a service that is there tells its models."""

MOST_CHARACTERS = 100_000
"""Characters of an answer's text at most, thoughts included."""
MOST_TOKENS = 100_000_000
"""Tokens that one request can have been charged."""
NONSENSE = -1
_NO_BUDGET = ", so that a budget of tokens or money cannot be kept: limit max_requests instead"

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Image:
    """An image as it travels: the bytes of a file and their media type."""

    data: bytes
    media_type: str = "image/jpeg"

    @property
    def url(self) -> str:
        """The whole image as a data URL (RFC 2397)."""
        return f"data:{self.media_type};base64,{base64.b64encode(self.data).decode('ascii')}"


@dataclass(frozen=True, slots=True)
class Message:
    """What one side says: texts and images in their order."""

    role: Role
    parts: tuple[str | Image, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the message as the protocol writes it; a lone text goes without a list."""
        if len(self.parts) == 1 and isinstance(self.parts[0], str):
            return {"role": self.role, "content": self.parts[0]}
        return {"role": self.role, "content": [_part_as_json(part) for part in self.parts]}


def _part_as_json(part: str | Image) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    return {"type": "image_url", "image_url": {"url": part.url}}


class ChatConfig(ServiceConfig):
    """Which model answers where, and how."""

    url: Annotated[str, RUNTIME] = "http://127.0.0.1:8000/v1"
    """Address before `/chat/completions`; by default a vLLM server on this machine."""
    model: str = "Qwen/Qwen3-VL-8B-Instruct"
    """Name of the model, as the service knows it."""
    release: str = ""
    """What the service runs, where you know it better than the model's name tells (a commit, a
    date); by default the service's host stands for it, and another host is another model."""
    api_key_env: Annotated[str, RUNTIME] = ""
    """Name of the environment variable that holds the key; empty for a service without keys."""
    temperature: float | None = Field(default=0.0, ge=0, le=2)
    """Randomness of the answer, 0..2; `null` leaves it to the service."""
    max_tokens: int | None = Field(default=512, ge=1)
    """Tokens of an answer, at most; an answer that was cut off there is not used."""
    seed: int | None = 0
    """Seed that the service is asked to use; `null` asks for none."""
    extra: dict[str, Any] = Field(default={})
    """Further keys of the request, as the service documents them; `null` removes one."""
    max_tokens_spent: Annotated[int | None, RUNTIME, Field(ge=0)] = None
    """Tokens in one run, in and out together; by default no limit."""
    price_million_tokens_in: Annotated[float, RUNTIME, Field(ge=0)] = 0.0
    """Price of a million tokens of questions, images included."""
    price_million_tokens_out: Annotated[float, RUNTIME, Field(ge=0)] = 0.0
    """Price of a million tokens of answers."""

    @property
    def limits(self) -> Limits:
        """What may be spent in one run."""
        return Limits(requests=self.max_requests, tokens=self.max_tokens_spent, cost=self.max_cost)

    @property
    def prices(self) -> Prices:
        """What is charged."""
        return Prices(
            request=self.price_per_request,
            million_tokens_in=self.price_million_tokens_in,
            million_tokens_out=self.price_million_tokens_out,
        )

    @property
    def needs_usage(self) -> bool:
        """Whether the budget cannot be kept when the service does not count tokens."""
        limits = self.limits
        return limits.tokens is not None or (limits.cost is not None and self.prices.charges_tokens)


class ChatService(Service):
    """One model behind one address."""

    def __init__(self, config: ChatConfig) -> None:
        key = read_key(config.api_key_env)
        self._exchange = Exchange(config.url, key, config)
        self._chat = config
        super().__init__(config, self._exchange, key)

    def answer(self, conversations: Sequence[Sequence[Message]]) -> list[str | SampleError]:
        """Return what the model says at the end of each conversation, stripped of white space.

        A text is whole and not empty; anything else is an error with its reason.
        """
        return self.ask([partial(self._complete, messages) for messages in conversations])

    def greet(self) -> None:
        """Ask for the list of models, which costs nothing, to find a service that is down.

        Not every service has such a list: only silence and a refused key are believed.

        Raises:
            ConfigError: nobody answers, or the key is not accepted.
        """
        failure = self._loop.run(self._greet())
        if failure:
            self.close()
            raise ConfigError(
                f"the service at url = {self._chat.url!r} cannot be asked: "
                f"{self.redacted(failure.message)}; start it, or correct url and key"
            )

    async def _greet(self) -> Failure | None:
        try:
            async with asyncio.timeout(_GREETING_S):
                reply = await self._exchange.ask("GET", "/models")
        except TimeoutError:
            return Failure(TIMED_OUT, f"no answer within {_GREETING_S:g} s")
        except Failure as failure:
            return None if failure.reason == INVALID_ANSWER else failure
        if reply.status != 401:
            return None
        return refusal(reply.status, reply.headers, reply.body, self.redacted)

    async def _complete(self, messages: Sequence[Message]) -> Priced[str]:
        reply = await self._exchange.ask("POST", "/chat/completions", self._request(messages))
        if not reply.is_success:
            raise refusal(reply.status, reply.headers, reply.body, self.redacted)
        return self._read(reply.body)

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
            said = json.loads(body)
            usage, choice = said.get("usage"), said["choices"][0]
            content, finish = choice["message"].get("content"), choice.get("finish_reason")
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            shown = self.redacted(body.decode("utf-8", "replace"))[:200]
            told = f"no chat completion but {shown!r}"
            raise Failure(INVALID_ANSWER, told, is_passing=True) from None
        tokens = self._tokens(usage)
        if finish == "length":
            told = f"the answer was cut off at max_tokens = {self._chat.max_tokens}: raise it"
            raise Failure(INVALID_ANSWER, told, tokens=tokens)
        if finish == "content_filter":
            raise Failure(
                SERVICE_FAILED, "the service's content filter held the answer", tokens=tokens
            )
        text = self.without_key(_text(content)).strip()
        if not text:
            raise Failure(EMPTY_ANSWER, "the answer has no text", is_passing=True, tokens=tokens)
        if len(text) > MOST_CHARACTERS:
            told = f"an answer of {len(text)} characters, at most {MOST_CHARACTERS} are a text"
            raise Failure(INVALID_ANSWER, told, tokens=tokens)
        return Priced(value=text, tokens_in=tokens[0], tokens_out=tokens[1])

    def _tokens(self, usage: object) -> tuple[int, int]:
        """Read how many tokens were charged, in and out.

        An answer whose usage is no whole number of tokens, or far too many, is invalid. A budget
        of tokens or money that cannot be kept, as the service counts nothing or nonsense, leaves
        the service alone.
        """
        needed = self._chat.needs_usage
        counts = [_count(usage, name) for name in ("prompt_tokens", "completion_tokens")]
        if NONSENSE in counts:
            told = f"the answer's usage is no number of tokens: {str(usage)[:200]}"
            raise Failure(INVALID_ANSWER, f"{told}{_NO_BUDGET * needed}", stops_all=needed)
        if needed and 0 in counts:
            raise Failure(
                SERVICE_FAILED, f"the service reports no usage{_NO_BUDGET}", stops_all=True
            )
        return counts[0], counts[1]


def _count(usage: object, name: str) -> int:
    """Return a count of tokens; 0 where there is none, `NONSENSE` for what cannot be one."""
    if usage is None:
        return 0
    count: Any = usage.get(name) if isinstance(usage, dict) else usage
    if count is None:
        return 0
    is_number = isinstance(count, int) and not isinstance(count, bool)
    return count if is_number and 0 <= count <= MOST_TOKENS else NONSENSE


def _text(content: object) -> str:
    """Return the text of a message; some services answer in parts."""
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        return "".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""


ChatT = TypeVar("ChatT", bound=ChatConfig)


class ChatSpecialist(Specialist[ChatT]):
    """A specialist that asks a chat model; `service` is there after `load`.

    Nothing is asked of the network before that: of the model only its name is known, and the
    host that serves it, or what the option `release` says of it.
    """

    needs: ClassVar[tuple[str, ...]] = ("httpx",)
    extra: ClassVar[str] = "online"
    is_remote: ClassVar[bool] = True
    calls_at_once: ClassVar[int] = 4
    service: ChatService

    @property
    def model(self) -> str:
        """The model, as the service knows it."""
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
            raise ConfigError("model is empty: name it as the service at url does")
        return self.config.release or host

    def load(self) -> None:
        """Open the connection and see whether anybody is there; nothing is paid yet.

        Raises:
            ConfigError: nobody is, or the key is not accepted.
        """
        self.service = ChatService(self.config)
        self.service.greet()
