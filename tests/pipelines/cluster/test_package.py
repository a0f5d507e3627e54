"""What a job takes along, and what is refused before anything is sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from florilegium.engine.core.errors import ConfigError
from florilegium.engine.planning.config import RunConfig, validated
from florilegium.pipelines.cluster.code import code_of
from florilegium.pipelines.cluster.package import CONFIG, LAUNCHER, Package, pack
from florilegium.pipelines.refine.config import RefineConfig
from florilegium.specialists.online.examples import read_examples
from tests.checkpoints.few_shot_caption import write_examples


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that we stand in."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def document(**keys: Any) -> dict[str, Any]:
    return {
        "source": "s3://bucket/in",
        "output": "s3://bucket/out",
        "specialists": {"x": {}},
        **keys,
    }


def packed(tmp_path: Path, name: str = "package", **keys: Any) -> Package:
    folder = tmp_path / name
    folder.mkdir()
    config = validated(RunConfig, document(**keys), where="test")
    return pack(document(**keys), config, folder)


def files_of(package: Package) -> set[str]:
    paths = (path for path in package.folder.rglob("*") if path.is_file())
    return {str(path.relative_to(package.folder)) for path in paths}


def write(path: Path, text: str = "x") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_the_job_runs_on_the_ray_that_it_is_on_whatever_the_config_has(tmp_path: Path) -> None:
    for number, runner in enumerate(("local", {"kind": "in_process", "workers": 3})):
        package = packed(tmp_path, str(number), runner=runner)
        sent = yaml.safe_load((package.folder / CONFIG).read_text("utf-8"))
        workers = {"workers": 3} if number else {}
        assert sent["runner"] == {"kind": "ray", "address": "auto", **workers}
        assert sent["output"] == "s3://bucket/out"
        assert files_of(package) == {CONFIG, LAUNCHER}


def test_files_that_stages_name_go_along_at_their_path(here: Path, tmp_path: Path) -> None:
    write(here / "words" / "list.txt", "tree")
    write(here / "prompt.txt", "Describe")
    stage = {
        "path": "words/list.txt",
        "prompts": {"a": ["prompt.txt"]},
        "text": "Say what is there.\n" * 200,
        "elsewhere": "/etc/hostname",
    }
    package = packed(tmp_path, filters={"f": stage})
    assert files_of(package) == {CONFIG, LAUNCHER, "words/list.txt", "prompt.txt"}
    assert (package.folder / "words/list.txt").read_text("utf-8") == "tree"
    sent = yaml.safe_load((package.folder / CONFIG).read_text("utf-8"))
    assert sent["filters"]["f"] == stage
    assert [str(part) for part in package.parts[1:]] == [
        "prompt.txt: 1 file, 0.0 kB",
        "words/list.txt: 1 file, 0.0 kB",
    ]


@pytest.mark.parametrize(
    "stage",
    [
        {"few_shot_caption": {}},
        {"few": {"use": "florilegium.specialists.online.few_shot:FewShotCaption"}},
    ],
)
def test_examples_go_along_with_their_images_and_nothing_else(
    here: Path, tmp_path: Path, stage: dict[str, Any]
) -> None:
    write_examples(here / "shots", count=2)
    write(here / "shots" / "images" / "unnamed.png")
    (name,) = stage
    options = {**stage[name], "examples": "shots/examples.jsonl"}
    package = packed(tmp_path, specialists={name: options})
    assert files_of(package) - {CONFIG, LAUNCHER} == {
        "shots/examples.jsonl",
        "shots/images/0.png",
        "shots/images/1.png",
    }
    sizes = [(here / "shots" / one).stat().st_size for one in ("images/0.png", "images/1.png")]
    total = sum(sizes) + (here / "shots" / "examples.jsonl").stat().st_size
    assert [(part.name, part.files, part.bytes) for part in package.parts[1:]] == [
        ("shots/examples.jsonl", 3, total)
    ]
    assert read_examples(str(package.folder / "shots" / "examples.jsonl")).digest == (
        read_examples("shots/examples.jsonl").digest
    )


def test_examples_that_lack_an_image_are_refused_here(here: Path, tmp_path: Path) -> None:
    write_examples(here / "shots", count=2)
    (here / "shots" / "images" / "1.png").unlink()
    with pytest.raises(ConfigError, match=r"line 3: the image 'images/1.png' cannot be read"):
        packed(tmp_path, specialists={"few_shot_caption": {"examples": "shots/examples.jsonl"}})


def refinement(**keys: Any) -> RefineConfig:
    train = {"model": "owner/name", "tasks": {"caption": 1}, "steps": 1}
    options = {"students": {"student": {}}, "train": train, **keys}
    return validated(RefineConfig, document(output="/mnt/out", refine=options), where="test")


def test_a_refinement_takes_its_audit_along_and_no_folder_of_a_model(
    here: Path, tmp_path: Path
) -> None:
    write(here / "audit.jsonl")
    (tmp_path / "package").mkdir()
    (here / "weights").mkdir()
    config = refinement(audit="audit.jsonl")
    package = pack(config.model_dump(mode="json"), config, tmp_path / "package")
    assert files_of(package) == {CONFIG, LAUNCHER, "audit.jsonl"}
    (tmp_path / "other").mkdir()
    train = {"model": "./weights", "tasks": {"caption": 1}, "steps": 1}
    with pytest.raises(ConfigError, match=r"refine\.train\.model = './weights' is a folder on"):
        pack({}, refinement(train=train), tmp_path / "other")


def test_a_takedown_list_goes_along_at_its_path(here: Path, tmp_path: Path) -> None:
    write(here / "lists" / "takedown.txt", "key:cat")
    package = packed(tmp_path, takedown="lists/takedown.txt")
    assert files_of(package) == {CONFIG, LAUNCHER, "lists/takedown.txt"}
    assert files_of(packed(tmp_path, "2", takedown="s3://bucket/list")) == {CONFIG, LAUNCHER}
    assert files_of(packed(tmp_path, "3", takedown="/mounted/list")) == {CONFIG, LAUNCHER}
    for path, problem in (("absent.txt", "no such file"), ("~/list", "leads out of this folder")):
        with pytest.raises(ConfigError, match=f"takedown = '{path}'.*{problem}"):
            packed(tmp_path, path.replace("/", ""), takedown=path)


def test_plugin_folders_go_along_without_what_git_ignores(here: Path, tmp_path: Path) -> None:
    write(here / "mine" / "stage.py", "a = 1")
    write(here / "mine" / "data.bin", "y" * 1000)
    write(here / "mine" / ".gitignore", "*.bin\n")
    write(here / "other" / "more.py")
    package = packed(tmp_path, plugin_path=["mine", str(here / "other")])
    first, second = "florilegium_plugins/0", "florilegium_plugins/1"
    assert files_of(package) == {CONFIG, LAUNCHER, f"{first}/stage.py", f"{second}/more.py"}
    sent = yaml.safe_load((package.folder / CONFIG).read_text("utf-8"))
    assert sent["plugin_path"] == [first, second]
    assert [(part.files, part.bytes) for part in package.parts[1:]] == [(1, 5), (1, 1)]


def test_ignored_files_are_those_that_git_ignores(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    (repository / ".git").mkdir(parents=True)
    write(repository / ".gitignore", "out/\n*.log\n/code/top.py\n")
    write(repository / "code" / "sub" / ".gitignore", "!kept.log\n/only_here.txt\n")
    write(repository / "code" / ".rayignore", "notes.md\n")
    write(tmp_path / ".gitignore", "a.py\n")  # outside of the repository
    for name in (
        *("a.py", "top.py", "sub/b.py", "sub/kept.log", "sub/x.log", "sub/only_here.txt"),
        *("only_here.txt", "notes.md", "out/c.py", "sub/out/d.py", "__pycache__/a.pyc"),
        *(".env", ".hidden/e.py", "venv/f.py"),
    ):
        write(repository / "code" / name)
    found = {str(path) for path in code_of(repository / "code")}
    assert found == {"a.py", "only_here.txt", "sub/b.py", "sub/kept.log"}


def test_a_folder_that_a_link_leads_to_stays_here(here: Path, tmp_path: Path) -> None:
    write(tmp_path / "private" / "secret.py")
    write(here / "mine" / "a.py")
    (here / "mine" / "linked").symlink_to(tmp_path / "private")
    (here / "mine" / "dangling.py").symlink_to(tmp_path / "nothing")
    assert [str(path) for path in code_of(here / "mine")] == ["a.py"]


def test_equal_packages_have_an_equal_digest(here: Path, tmp_path: Path) -> None:
    write(here / "mine" / "a.py", "1")
    first = packed(tmp_path, "1", plugin_path="mine")
    assert packed(tmp_path, "2", plugin_path="mine").digest == first.digest
    assert packed(tmp_path, "3", plugin_path="mine", shard_size=7).digest != first.digest
    write(here / "mine" / "a.py", "2")
    assert packed(tmp_path, "4", plugin_path="mine").digest != first.digest


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"output": "out/mine"}, "output = 'out/mine' is a path on this machine: give a URL"),
        ({"source": "~/Pictures"}, "source = '~/Pictures' is a path on this machine"),
        ({"source": ["/data", {"url": "tars"}]}, "source = 'tars' is a path on this machine"),
        ({"layers": "layers"}, "layers = 'layers' is a path on this machine"),
        ({"plugin_path": "absent"}, "plugin_path = 'absent': there is no such folder"),
        ({"plugin_path": "empty"}, "plugin_path = 'empty': the folder has no file that git would"),
        ({"filters": {"f": {"path": "../up.txt"}}}, r"filters.f.path = '../up.txt' leads out of"),
        ({"filters": {"f": {"path": "~/up.txt"}}}, r"filters.f.path = '~/up.txt' leads out of"),
        ({"filters": {"f": {"model": "./model"}}}, "filters.f.model = './model' is a folder on"),
    ],
)
def test_paths_that_lead_nowhere_on_the_cluster_are_refused(
    here: Path, tmp_path: Path, keys: dict[str, Any], message: str
) -> None:
    (here / "empty").mkdir()
    (here / "model").mkdir()
    write(here.parent / "up.txt")
    with pytest.raises(ConfigError, match=message):
        packed(tmp_path, **keys)


def test_places_that_all_nodes_see_are_taken(tmp_path: Path) -> None:
    source = ["/mnt/in", {"kind": "shape_world", "url": "shape_world://4"}, "zip::https://h/a.zip"]
    package = packed(tmp_path, source=source, output="/mnt/out", layers="gs://bucket/layers")
    assert files_of(package) == {CONFIG, LAUNCHER}


def test_a_package_that_is_too_large_names_what_makes_it_so(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("florilegium.pipelines.cluster.package.MAX_BYTES", 1000)
    write(here / "small" / "a.py", "x" * 10)
    write(here / "large" / "weights.bin", "x" * 995)
    with pytest.raises(ConfigError, match=r"more than 1.0 kB with it, most of it plugins of large"):
        packed(tmp_path, plugin_path=["small", "large"])
