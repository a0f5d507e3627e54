"""Only complete checkpoints are used."""

from __future__ import annotations

import pytest

from florilegium.pipelines.training.checkpoints import (
    CHECKPOINTS,
    COMPLETE,
    complete,
    last_checkpoint,
    state_of,
    step_of,
    sweep,
)


def written(output, step: int):
    folder = output / CHECKPOINTS / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def test_the_latest_complete_checkpoint_is_used(tmp_path):
    assert last_checkpoint(tmp_path) is None
    for step in (9, 10):
        written(tmp_path, step)
        complete(tmp_path, step, {"step": step}, keep=5)
    written(tmp_path, 11)
    found = last_checkpoint(tmp_path)
    assert found is not None
    assert step_of(found) == 10
    assert state_of(found) == {"step": 10}


@pytest.mark.attack("models")
@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / "optimizer.pt").write_bytes(b"a pickle of a stranger"),
        lambda folder: (folder / "model.safetensors").write_bytes(b"Weights"),
        lambda folder: (folder / "model.safetensors").unlink(),
        lambda folder: (folder / "pytorch_model.bin").symlink_to("/etc/passwd"),
        lambda folder: (folder / "adapter").mkdir(),
        lambda folder: (folder / COMPLETE).write_text("[" * 100),
        lambda folder: (folder / COMPLETE).write_text("{}"),
        lambda folder: (folder / COMPLETE).write_text('{"digests": []}'),
        lambda folder: (folder / COMPLETE).write_text("[" * 100_000),
        lambda folder: (folder / COMPLETE).write_text(
            (folder / COMPLETE).read_text().replace('"state": {', '"other": {')
        ),
        lambda folder: folder.rename(folder.with_name("checkpoint-x")),
    ],
    ids=[
        "a file more",
        "changed",
        "a file less",
        "linked",
        "a folder",
        "torn",
        "empty",
        "a list",
        "deep",
        "no state",
        "no step",
    ],
)
def test_a_checkpoint_with_changed_files_is_ignored(tmp_path, spoil):
    """Its optimizer is a pickle, though one that is read as tensors: only our own is opened."""
    for step in (5, 10):
        folder = written(tmp_path, step)
        complete(tmp_path, step, {"step": step}, keep=5)
    spoil(folder)
    found = last_checkpoint(tmp_path)
    assert found is not None
    assert state_of(found) == {"step": 5}
    assert len(sweep(tmp_path)) == 1, "what was changed is named, and gets into no later checkpoint"
    assert [path.name for path in (tmp_path / CHECKPOINTS).iterdir()] == ["checkpoint-5"]


def test_old_checkpoints_are_removed_after_a_new_one_is_complete(tmp_path):
    for step in (5, 10, 15):
        written(tmp_path, step)
        complete(tmp_path, step, {}, keep=2)
    names = sorted(path.name for path in (tmp_path / CHECKPOINTS).iterdir())
    assert names == ["checkpoint-10", "checkpoint-15"]


def test_incomplete_checkpoints_are_removed(tmp_path):
    written(tmp_path, 5)
    complete(tmp_path, 5, {}, keep=2)
    torn = written(tmp_path, 10)
    assert sweep(tmp_path) == []
    assert not torn.exists()
    assert last_checkpoint(tmp_path) is not None
