from __future__ import annotations

import json
import time

import pytest

from florilegium.engine.core.errors import ConfigError, FlorilegiumError, RunError, SampleError
from florilegium.engine.core.redaction import (
    MAX_CHARACTERS,
    has_signature,
    has_user,
    redacted,
    redacted_urls,
)
from florilegium.engine.untrusted.traces import traceback_of

pytestmark = pytest.mark.attack("secrets")

SECRETS = {
    "https://anna:CANARY@host/x": "https://***@host/x",
    "https://CANARY@host/x": "https://***@host/x",
    "http://anna:CANARY@[::1]:80/x": "http://***@[::1]:80/x",
    "https://anna:p@CANARY@host/x": "https://***@host/x",
    "s3://CANARY:CAN/ARY+x@bucket/a@b.tar": "s3://***@bucket/a@b.tar",
    "simplecache::https://anna:CANARY@host/x": "simplecache::https://***@host/x",
    "zip://a@b.csv::https://a:CANARY@h/x?sig=CANARY&sv=1": "zip://a@b.csv::https://***@h/x?sig=***"
    "&sv=1",
    "abfs://box:CANARY@account/x": "abfs://***@account/x",
    "?to=https%3A%2F%2Fanna%3ACANARY%40host%2Fp&b=1": "?to=https%3A%2F%2F***%40host%2Fp&b=1",
    "h/a?X-Amz-Signature=CANARY&b=3": "h/a?X-Amz-Signature=***&b=3",
    "h/a?X%2DAmz%2DSignature=CANARY": "h/a?X%2DAmz%2DSignature=***",
    "h/a?a=1%26sig%3DCANARY": "h/a?a=1%26sig%3D***",
    "h/a?sv=1&amp;sig=CANARY": "h/a?sv=1&amp;sig=***",
    "h/a?b=1\\u0026token=CANARY\\u0026c=2": "h/a?b=1\\u0026token=***\\u0026c=2",
    "h/a?API_KEY=CANARY": "h/a?API_KEY=***",
    "h/#access_token=CANARY": "h/#access_token=***",
    "https:\\/\\/a:CANARY@h\\/x": "https:\\/\\/***@h\\/x",
    "'Authorization': 'Bearer CANARYx'": "'Authorization': 'Bearer [key]'",
    "Basic Q0FOQVJZOng9": "Basic [key]",
    "aws_secret_access_key = CANARY": "aws_secret_access_key = [key]",
    "AccountName=x;AccountKey=CANARY==;E=1": "AccountName=x;AccountKey=[key];E=1",
    '{"password": "CANARY"}': '{"password": "[key]"}',
    "--set specialists.a.api_key=CANARY": "--set specialists.a.api_key=[key]",
    "invalid key sk-CANARY0123456789abc": "invalid key [key]",
    "HTTP 401 for hf_CANARY0123456789": "HTTP 401 for [key]",
    "as environment: canary/of+env, canary%2Fof%2Benv": "as environment: [key], [key]",
    "CANARY/OF+ENV canary%2fof%2Benv canary%252Fof%252Benv": "[key] [key] [key]",
    "canary\\u002fof\\u002benv canary\\/of+env canar\n  y/of+env": "[key] [key] [key]",
    "63616e6172792f6f662b656e76 Y2FuYXJ5L29mK2Vudg== e": "[key] [key] e",
    "x-token: Basic dXNlcjpjYW5hcnkvb2YrZW52": "x-token: Basic dXNlcjp[key]",
    "&#99;anary&#x2f;of&#43;env": "[key]",
    "('x-api-key', 'CANARY'), (b'authorization', b'Bearer CANARY')": "('x-api-key', '[key]'), "
    "(b'authorization', b'Bearer [key]')",
    "<Password>CANARY</Password>": "<Password>[key]</Password>",
    'password = "with a space and CANARY"; b': 'password = "[key]"; b',
    "Cookie: a=1; session=CANARY": "Cookie: [key]",
    "Authorization: AWS4-HMAC-SHA256 Credential=CANARY, Signature=CANARY": "Authorization: "
    "AWS4-HMAC-SHA256 [key]",
    "hf_token=CANARY00, pwd: CANARY, passphrase=CANARY": "hf_token=[key], pwd: [key], "
    "passphrase=[key]",
    "--token CANARY0123456789": "--token [key]",
    "Incorrect API key provided: CANARY0123456789": "Incorrect API key provided: [key]",
    "-----BEGIN RSA PRIVATE KEY-----\nCANARY\n-----END RSA PRIVATE KEY-----.": "[key].",
    "https:/anna:CANARY@host/x //anna:CANARY@host": "https:/***@host/x //***@host",
    "https%253A%252F%252Fanna%253ACANARY%2540host": "https%253A%252F%252F***%2540host",
    "https:\\u002f\\u002fanna:CANARY@host": "https:\\u002f\\u002f***@host",
    "h/a?hm=CANARY&hdnts=CANARY&session_id=CANARY": "h/a?hm=***&hdnts=***&session_id=***",
    "glpat-CANARY0123456789 npm_CANARY0123456789 ya29.CANARY0123456789": "[key] [key] [key]",
}
HARMLESS = [
    "https://host:8080/photos@2x/a.jpg",
    "https://[::1]:80/x@y",
    "abfs://box@account.dfs.core.windows.net/x",
    "sftp://anna@host/x",
    "hf://datasets/anna/photos@main/x",
    "github://anna:photos@main/x",
    "file:///a@b:c/d",
    "git@github.com:anna/photos",
    "s3://bucket/{000..009}.tar",
    "https://host/a?page=2&size=large",
    "api_key_env = 'OPENAI_API_KEY': it is not set; export OPENAI_API_KEY=...",
    "sample 'a': key: 000012, key=000012, max_tokens = 7, 3 tokens of 5",
    "Basic understanding of things",
    "a task-for-a-whole-day, the bearer of news",
    "pad_token: '<pad>', eos_token = </s>, bos_token='BOS', tokens: 12345678901234",
    "the key is not accepted: look at the environment variable that holds it",
    "password of the database: unknown; a token of 1234567890123 characters",
    "session 20240101 of the camera, signature: none, a cookie is baked",
]


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "canary/of+env")


@pytest.mark.parametrize("text", SECRETS)
def test_what_is_secret_is_masked_in_text_of_any_kind(text: str) -> None:
    assert redacted(text) == SECRETS[text]
    assert redacted(redacted(text)) == redacted(text)


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_not_secret_stays(text: str) -> None:
    assert redacted(text) == text
    assert not has_user(text)
    assert not has_signature(text)


@pytest.mark.parametrize(
    "name",
    [
        *("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "OPENAI_API_KEY", "VISION_KEY"),
        *("DB_PASSWORD", "FSSPEC_S3_KEY", "FSSPEC_S3_SECRET", "GITHUB_TOKEN"),
        "AZURE_STORAGE_CONNECTION_STRING",
    ],
)
def test_the_values_of_secret_variables_are_masked(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "value-that-looks-harmless")
    assert redacted("for value-that-looks-harmless") == "for [key]"


def test_values_that_hide_nothing_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VLLM_API_KEY", "TOKENIZERS_PARALLELISM", "PWD", "KEYBOARD"):
        monkeypatch.setenv(name, "EMPTY" if "API" in name else "/a/folder")
    assert redacted("EMPTY in /a/folder") == "EMPTY in /a/folder"


def test_errors_and_tracebacks_hold_no_secret() -> None:
    secret = "https://anna:CANARY@host/x?token=CANARY"
    for kind in (FlorilegiumError, ConfigError, RunError):
        assert "CANARY" not in f"{kind(secret)!r}"
    error = SampleError("reason", secret, traceback=secret)
    assert "CANARY" not in f"{error!r} {error.message} {error.traceback}"
    cause = ValueError(f"{'x' * 3950} {secret}")
    cause.__cause__ = OSError(secret)
    assert "CAN" not in traceback_of(cause)


def test_metadata_of_a_source_stays_json_and_keeps_its_addresses() -> None:
    metadata = {
        "html": '<a href="https://h/?sig=CANARY&id=3">x</a>',
        "url": "https://anna:CANARY@h/x.jpg?code=7&X-Amz-Signature=CANARY",
        "key": "000012",
        "path": "C:\\photos\\a",
    }
    found = json.loads(redacted_urls(json.dumps(metadata)))
    assert found == {
        "html": '<a href="https://h/?sig=***&id=3">x</a>',
        "url": "https://***@h/x.jpg?code=7&X-Amz-Signature=***",
        "key": "000012",
        "path": "C:\\photos\\a",
    }


@pytest.mark.parametrize(
    "part",
    [
        *("a", "&a", "://", "a:", "secret", "%3A%2F%2F", "?a=%26a%3D"),
        *("canary/of+en", "-----BEGIN PRIVATE KEY-----"),
    ],
)
def test_a_long_text_takes_no_long_time(part: str) -> None:
    began = time.monotonic()
    redacted(part * 300_000)
    assert time.monotonic() - began < 5


def test_no_half_of_a_secret_is_left_where_a_text_is_cut() -> None:
    for place in range(MAX_CHARACTERS - 12, MAX_CHARACTERS, 3):
        assert "canary" not in redacted("x " * (place // 2) + "canary/of+env")
