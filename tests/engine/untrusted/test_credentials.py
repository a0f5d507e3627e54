from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from florilegium.engine.core.errors import ConfigError
from florilegium.engine.planning.config import RunConfig, validated
from florilegium.engine.storage.folder import Folder

pytestmark = pytest.mark.attack("secrets")

SIGNED = "https://host/a.tar?X-Amz-Signature=CANARY"


def document(**changes: Any) -> dict[str, Any]:
    return {"source": "photos", "output": "out", "specialists": {"bright": {}}, **changes}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": "https://anna:CANARY@host/a.tar"}, "the URL of the source"),
        ({"source": ["photos", {"url": "s3://CANARY:CAN/ARY@bucket"}]}, "the URL of the source"),
        ({"source": "simplecache::https://anna:CANARY@host/a.tar"}, "the URL of the source"),
        ({"source": {"kind": "gallery", "api_key": "CANARY"}}, "source.api_key holds"),
        ({"source": [{"url": "x", "login": "https://a:CANARY@host"}]}, "source.login holds a user"),
        ({"output": "s3://CANARY:CANARY@bucket/out"}, "output holds a user"),
        ({"output": SIGNED}, "output holds a signature"),
        ({"layers": "https://host/layers?sv=1&sig=CANARY"}, "layers holds a signature"),
        ({"runner": {"address": "ray://anna:CANARY@head:10001"}}, "runner.address holds a user"),
        ({"specialists": {"a": {"url": "https://x:CANARY@host/v1"}}}, "specialists.a.url holds"),
        ({"specialists": {"a": {"url": "https://host/v1?key=CANARY"}}}, "specialists.a.url holds"),
        ({"specialists": {"a": {"model": "https://x:CANARY@host/m"}}}, "specialists.a.model holds"),
        ({"specialists": {"a": {"api_key": "CANARY"}}}, "specialists.a.api_key holds"),
        ({"specialists": {"a": {"api_key_env": "sk-CANARY0123456789"}}}, "a.api_key_env holds"),
        ({"specialists": {"a": {"extra": {"headers": {"X-Api-Key": "CANARY"}}}}}, "X-Api-Key"),
        ({"specialists": {"a": {"extra": {"auth": "Bearer CANARYCANARY"}}}}, "extra.auth holds"),
        ({"output": "s3://key:CAN ARY@bucket/out"}, "output holds a user"),
        ({"specialists": {"a": {"url": "https:/x:CANARY@host/v1"}}}, "specialists.a.url holds"),
        ({"specialists": {"a": {"extra": {"list": [{"passphrase": "CANARY"}]}}}}, "passphrase"),
        ({"filters": {"a": {"password": "CANARY"}}}, "filters.a.password holds"),
        ({"specialists": {"a": {"words": ["canary-of-env"]}}}, "specialists.a.words holds"),
    ],
)
def test_a_config_with_a_secret_is_refused_and_not_repeated(
    changes: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_SECRET", "canary-of-env")
    with pytest.raises(ConfigError) as refused:
        validated(RunConfig, document(**changes), where="test")
    assert message in str(refused.value)
    assert "environment" in str(refused.value)
    with pytest.raises(ValidationError) as raw:
        RunConfig(**document(**changes))
    assert "canary" not in f"{refused.value}{raw.value}".lower()


@pytest.mark.parametrize(
    "changes",
    [
        {"source": SIGNED},
        {"source": "abfs://box@account.dfs.core.windows.net/photos"},
        {"source": "github://anna:photos@main/x"},
        {"specialists": {"a": {"max_tokens": 9, "api_key_env": "KEY", "tokenizer": "x"}}},
        {"specialists": {"a": {"extra": {"stop": "</s>", "top_k": 1}, "pad_token": "<pad>"}}},
    ],
)
def test_a_config_without_secrets_and_a_signed_source_are_taken(changes: dict[str, Any]) -> None:
    validated(RunConfig, document(**changes), where="test")


def test_a_source_that_was_written_without_its_signature_is_not_taken_for_one() -> None:
    with pytest.raises(ConfigError, match="give the whole URL with --source"):
        validated(RunConfig, document(source="https://host/a.tar?sig=***"), where="test")


@pytest.mark.parametrize("url", ["s3://CANARY:CANARY@bucket/out", "https://CANARY@host/out"])
def test_no_folder_is_opened_with_a_password(url: str) -> None:
    with pytest.raises(ConfigError, match="holds a user or a password") as refused:
        Folder(url)
    assert "CANARY" not in str(refused.value)
