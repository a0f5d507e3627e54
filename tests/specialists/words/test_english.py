from __future__ import annotations

import subprocess
import sys
from importlib.metadata import PackageNotFoundError

import pytest

from florilegium.engine.core.errors import MissingPackage
from florilegium.specialists.words import english


def test_the_pipeline_parses_and_knows_no_entities() -> None:
    pipeline = english.load_english()
    assert "parser" in pipeline.pipe_names
    assert "lemmatizer" in pipeline.pipe_names
    assert "ner" not in pipeline.pipe_names
    assert english.load_english() is pipeline


def test_the_official_package_is_preferred(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(english, "version", lambda package: "9.9.9")
    assert english.english_revision() == "en_core_web_sm 9.9.9"


def test_without_a_pipeline_the_error_names_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(package: str) -> str:
        raise PackageNotFoundError(package)

    monkeypatch.setattr(english, "version", absent)
    with pytest.raises(MissingPackage, match=r"pip install 'florilegium\[starter\]'"):
        english.english_revision()


def test_asking_for_the_revision_imports_no_spacy() -> None:
    code = (
        "import sys; from florilegium.specialists.words.english import english_revision;"
        "english_revision();"
        "sys.exit('spacy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
