"""A refinement forgets an image in all its rounds, and trains its students again."""

from __future__ import annotations

import json
import shutil
from hashlib import sha256
from pathlib import Path

from florilegium.engine.results.dataset import open_dataset
from florilegium.engine.results.takedowns import read_receipts
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.dataset.lineage import read_lineage
from florilegium.pipelines.refine.loop import refine
from florilegium.pipelines.refine.to_audit import prepare_audit
from florilegium.pipelines.verify.verify import verify_dataset
from tests.pipelines.refine.conftest import Configure
from tests.takedowns import found_in


def test_all_rounds_forget_an_image_and_students_are_trained_again(
    configure: Configure, undisturbed: Path, tmp_path: Path
) -> None:
    output = shutil.copytree(undisturbed, tmp_path / "out")
    old = {student.digest for one in read_lineage(Folder(str(output))) for student in one.students}
    samples = {one.key: one for one in open_dataset(str(output))}
    audited = read_lineage(Folder(str(output)))[0].audited[0]
    taken = samples[audited]
    traces = (taken.image, taken.sha256, sha256(taken.image).hexdigest())
    assert len({name.split("/")[0] for name in found_in(output, *traces)}) > 1
    shutil.copytree(output / "rounds/1", output / "rounds/2")
    (tmp_path / "list.txt").write_text(f"key:{audited}\n")
    refine(configure(output, keys={"takedown": str(tmp_path / "list.txt")}))
    assert found_in(output, *traces) == []
    assert samples.keys() - {one.key for one in open_dataset(str(output))} == {audited}
    assert audited not in read_lineage(Folder(str(output)))[0].audited
    (receipt,) = read_receipts(Folder(str(output)))
    assert receipt.rounds == ("rounds/2",)
    assert {path.name for path in (output / "rounds/2").iterdir()} == {"students"}
    assert {one.path for one in receipt.checkpoints} == {
        "rounds/1/students/fold_0",
        "rounds/1/students/fold_1",
    }
    assert {one.sha256 for one in receipt.checkpoints} == old
    assert not any(one.is_there for one in receipt.checkpoints), "others are in their place"
    shutil.rmtree(output / "rounds/2")
    assert list(verify_dataset(Folder(str(output)))) == []


def test_an_audit_is_stripped_of_the_image_and_serves_on(
    configure: Configure, tmp_path: Path
) -> None:
    output, listed = tmp_path / "out", tmp_path / "list.txt"
    own = output / "rounds/0/candidates/audit.jsonl"
    listed.write_text("")
    keys = {"takedown": str(listed)}
    prepare_audit(configure(output, keys=keys))
    rows = [json.loads(line) for line in own.read_text().splitlines()]
    filled = "".join(json.dumps({**row, "right": True}) + "\n" for row in rows)
    elsewhere = tmp_path / "audit.jsonl"
    for path in (own, elsewhere):
        path.write_text(filled)
    key = rows[0]["key"]
    listed.write_text(f"key:{key}")
    for path in (elsewhere, own):
        refine(configure(output, keys=keys, audit=str(path), rounds=0))
    assert key in elsewhere.read_text(), "that is the user's file"
    assert key not in own.read_text()
    prepare_audit(configure(output, keys=keys))
    after = [json.loads(line) for line in own.read_text().splitlines()]
    ours = {row["id"] for row in rows if row["key"] == key}
    assert ours
    assert ours.isdisjoint(row["id"] for row in after)
    assert {row["id"] for row in rows} - ours <= {row["id"] for row in after if row["right"]}
