"""Hooks: programs, and web addresses on loopback."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from florilegium.engine.core.errors import ConfigError
from florilegium.pipelines.refresh.notify import check_hooks, notify
from florilegium.pipelines.refresh.options import Hook
from tests.pipelines.refresh.pictures import put, refresh
from tests.processes import wait_for
from tests.receiver import Receiver

RECORD = {"outcome": "published", "images": {"before": 1, "after": 2}}
TOKEN = "token-never-to-be-seen"


def program(text: str, *arguments: object) -> tuple[str, ...]:
    return (sys.executable, "-c", text, *map(str, arguments))


def called(*hooks: Hook, outcome: str = "published") -> tuple[list[str], list[float]]:
    pauses: list[float] = []
    return notify(hooks, {**RECORD, "outcome": outcome}, pause=pauses.append), pauses


def test_a_program_gets_the_record_as_its_input(tmp_path: Path) -> None:
    text = "import sys; open(sys.argv[1], 'wb').write(sys.stdin.buffer.read())"
    assert called(Hook(command=program(text, tmp_path / "got"))) == ([], [])
    assert json.loads((tmp_path / "got").read_bytes()) == RECORD


def test_no_shell_reads_its_arguments(tmp_path: Path) -> None:
    text = "import sys; open(sys.argv[1], 'w').write(sys.argv[2])"
    assert called(Hook(command=program(text, tmp_path / "got", "$HOME; *"))) == ([], [])
    assert (tmp_path / "got").read_text("utf-8") == "$HOME; *"


def test_a_program_that_fails_is_tried_again_with_pauses_that_double(tmp_path: Path) -> None:
    tries = tmp_path / "tries"
    text = "import sys; open(sys.argv[1], 'a').write('x'); sys.exit('no mail today')"
    hook = Hook(command=program(text, tries), attempts=3, backoff_s=2)
    (problem,), pauses = called(hook)
    assert problem.endswith("failed 3 times, the last time: it ended with 1: no mail today")
    assert tries.read_text("utf-8") == "xxx"
    assert pauses == [2, 4]


def test_a_program_that_works_at_last_is_no_problem(tmp_path: Path) -> None:
    text = "import sys, os; p = sys.argv[1]; os.path.exists(p) or sys.exit(bool(open(p, 'x')))"
    assert called(Hook(command=program(text, tmp_path / "tried"))) == ([], [1])


def test_a_program_that_hangs_is_ended_with_what_it_started(tmp_path: Path) -> None:
    text = (
        "import subprocess, sys; p = subprocess.Popen(['sleep', '100']);"
        "open(sys.argv[1], 'w').write(str(p.pid)); p.wait()"
    )
    hook = Hook(command=program(text, tmp_path / "pid"), attempts=1, timeout_s=2)
    (problem,), _ = called(hook)
    assert "it took longer than timeout_s = 2" in problem
    stat = Path(f"/proc/{(tmp_path / 'pid').read_text('utf-8')}/stat")
    assert wait_for(lambda: has_ended(stat), seconds=10)


def has_ended(stat: Path) -> bool:
    """Whether a process of `/proc` is gone, or only waits for its parent to look."""
    try:
        return stat.read_text("utf-8").split()[2] == "Z"
    except OSError:
        return True


def test_a_program_that_is_not_there_is_named() -> None:
    (problem,), _ = called(Hook(command=("no-such-program",), attempts=1))
    assert "'no-such-program' failed 1 times" in problem
    assert "cannot be started: No such file or directory" in problem


def test_secrets_in_what_a_program_prints_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAIL_TOKEN", TOKEN)
    text = "import os, sys; sys.exit(os.environ['MAIL_TOKEN'])"
    (problem,), _ = called(Hook(command=program(text), attempts=1))
    assert TOKEN not in problem


@pytest.mark.parametrize("outcome", ["published", "held_back", "failed", "nothing"])
def test_a_hook_is_called_after_the_outcomes_that_it_names(tmp_path: Path, outcome: str) -> None:
    text = "import sys; open(sys.argv[1], 'w')"
    hook = Hook(command=program(text, tmp_path / "called"), on=("held_back", "nothing"))
    called(hook, outcome=outcome)
    assert (tmp_path / "called").exists() is (outcome in ("held_back", "nothing"))


@pytest.fixture
def listener() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def hook_of(listener: Receiver) -> str:
    return f"{listener.url}/hook"


def test_a_webhook_gets_the_record_with_a_token_of_the_environment(
    listener: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK_TOKEN", TOKEN)
    assert called(Hook(webhook=hook_of(listener), token_env="HOOK_TOKEN")) == ([], [])
    (got,) = listener.received
    assert (got.path, got.headers["authorization"]) == ("/hook", f"Bearer {TOKEN}")
    assert got.json == RECORD


def test_a_webhook_that_fails_is_tried_again(listener: Receiver) -> None:
    listener.statuses = [503, 429]
    assert called(Hook(webhook=hook_of(listener), backoff_s=0.01)) == ([], [])
    assert len(listener.received) == 3


def test_a_webhook_that_stays_down_is_reported_and_what_it_refuses_is_not_repeated(
    listener: Receiver,
) -> None:
    listener.statuses = [500] * 9
    (problem,), _ = called(Hook(webhook=hook_of(listener), backoff_s=0.01, attempts=2))
    assert problem.startswith(f"the hook {hook_of(listener)!r} failed: HTTP 500")
    assert len(listener.received) == 2
    listener.statuses = [403]
    (problem,), _ = called(Hook(webhook=hook_of(listener), backoff_s=0.01))
    assert "HTTP 403" in problem
    assert len(listener.received) == 3


def test_an_address_of_the_environment_is_never_printed(
    listener: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK", f"{hook_of(listener)}/T0123/secret-part?sig=abcdef")
    listener.statuses = [404]
    (problem,), _ = called(Hook(webhook_env="HOOK"))
    assert "secret-part" not in problem
    assert "'HOOK'" in problem
    assert listener.received[0].path == "/hook/T0123/secret-part?sig=abcdef"


def test_a_private_address_is_refused_where_the_hook_forbids_it(listener: Receiver) -> None:
    (problem,), _ = called(Hook(webhook=hook_of(listener), allow_private_addresses=False))
    assert "an address of this machine or its network" in problem
    assert listener.received == []


def test_what_a_hook_needs_is_checked_before_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "source", 1)
    section = {"notify": {"webhook_env": "HOOK"}}
    with pytest.raises(ConfigError, match=r"webhook_env = 'HOOK'.* is not set"):
        refresh(tmp_path / "source", tmp_path / "out", refresh=section)
    assert not (tmp_path / "out").exists()
    monkeypatch.setenv("HOOK", "not-an-address")
    with pytest.raises(ConfigError, match="is no address such as") as error:
        check_hooks([Hook(webhook_env="HOOK")])
    assert "not-an-address" not in str(error.value)


def test_the_hook_is_called_after_each_refresh_and_cannot_undo_it(
    listener: Receiver, tmp_path: Path
) -> None:
    put(tmp_path / "source", *range(4))
    outcomes = ["published", "held_back", "nothing", "failed"]
    section = {
        "limits": {"max_dropped_share": 0.3},
        "notify": {"webhook": hook_of(listener), "on": outcomes, "attempts": 1},
    }
    listener.statuses = [500]
    config = {"refresh": section}
    assert refresh(tmp_path / "source", tmp_path / "out", **config).outcome == "published"
    assert refresh(tmp_path / "source", tmp_path / "out", **config).outcome == "nothing"
    for number in (1, 2):
        (tmp_path / "source" / f"{number:03d}.png").unlink()
    assert refresh(tmp_path / "source", tmp_path / "out", **config).outcome == "held_back"
    put(tmp_path / "other", 9)
    with pytest.raises(ConfigError, match="would be deleted"):
        refresh(tmp_path / "other", tmp_path / "out", **config)
    sent = [one.json for one in listener.received]
    assert [one["outcome"] for one in sent] == ["published", "nothing", "held_back", "failed"]
    assert sent[0]["output"] == str(tmp_path / "out")
    assert sent[2]["exceeded"][0]["limit"] == "max_dropped_share"
    assert "would be deleted" in sent[3]["error"]
    assert "distributions" not in sent[0]
