"""A plugin of pytest: a test for each check of each stage that a distribution brings.

In `pyproject.toml` of a package with stages:

    [tool.pytest.ini_options]
    florilegium_contract = ["my-plugin"]

names distributions as pip does; `package.module:Class` names a single stage. Each check of each
stage is a test, `contract::STAGE::CHECK`, in every run that is not limited to some files. A stage
that needs options gets them from a hook in `conftest.py`:

    def pytest_florilegium_options(name):
        return {"model": "tests/tiny"} if name == "my_detector" else None

The fixtures `florilegium_samples` and `florilegium_dataset` are those of `florilegium.testing`.
Every pytest loads this module where the distribution is installed: it imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from florilegium.engine.core.sample import Sample
    from florilegium.engine.core.stage import Stage
    from florilegium.testing.checks import Checks
    from florilegium.testing.stage import StageCheck
    from florilegium.testing.subject import Subject

OPTION = "florilegium_contract"
_GROUP = "florilegium.stages"


class Hooks:
    """The hooks that a `conftest.py` may have."""

    @pytest.hookspec(firstresult=True)
    def pytest_florilegium_options(self, name: str) -> dict[str, Any] | None:
        """Return the options with which a stage is checked, `None` for its defaults."""


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Make the hook known."""
    pluginmanager.add_hookspecs(Hooks)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Make the ini option known."""
    parser.addini(
        OPTION,
        "distributions, or package.module:Class, whose stages must keep the contract of stages",
        type="linelist",
        default=[],
    )


@pytest.fixture
def florilegium_samples() -> list[Sample]:
    """Drawn samples of many sizes, with annotations of every installed task."""
    from florilegium.testing.drawn import samples

    return samples()


@pytest.fixture(scope="session")
def florilegium_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small finished dataset, which no test may change."""
    from florilegium.testing.dataset import small_dataset

    return small_dataset(tmp_path_factory.mktemp("florilegium"))


@pytest.hookimpl(tryfirst=True)  # so that -k and -m choose among these tests, too
def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Add the tests, unless the command names files only."""
    chosen = [Path(one.split("::")[0]) for one in config.args]
    if any((config.invocation_params.dir / one).is_dir() for one in chosen):
        for name in config.getini(OPTION):
            items.extend(_items_of(session, name))


def _items_of(session: pytest.Session, name: str) -> Iterator[pytest.Item]:
    """Yield the tests of a distribution, or of one stage."""
    if ":" in name:
        yield from _items_of_stage(session, name, name)
        return
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        points = distribution(name).entry_points.select(group=_GROUP)
    except PackageNotFoundError:
        raise pytest.UsageError(
            f"{OPTION}: no distribution {name!r} is installed: pip install -e ."
        ) from None
    if not points:
        raise pytest.UsageError(f"{OPTION}: {name!r} has no entry point of the group {_GROUP}")
    for point in sorted(points, key=lambda one: one.name):
        yield from _items_of_stage(session, point.name, point.value)


def _items_of_stage(session: pytest.Session, name: str, value: str) -> Iterator[pytest.Item]:
    from florilegium.engine.core.errors import FlorilegiumError
    from florilegium.engine.planning.registry import find_stage
    from florilegium.testing.stage import stage_checks
    from florilegium.testing.subject import Subject

    try:
        stage_class: type[Stage[Any]] = find_stage(value)
    except FlorilegiumError as error:
        yield _item(ImportItem, session, name, "can_be_imported", error=error)
        return
    options = session.config.hook.pytest_florilegium_options(name=name)
    checks = stage_checks(Subject(stage_class, options=options))
    for check in checks.every:
        yield _item(CheckItem, session, name, check.__name__, checks=checks, check=check)


def _item(kind: Any, session: pytest.Session, stage: str, test: str, **more: Any) -> pytest.Item:
    name = f"{stage}::{test}"
    item: pytest.Item = kind.from_parent(
        session, name=name, nodeid=f"contract::{name}", stage=stage, **more
    )
    return item


class ContractItem(pytest.Item):
    """A test of a stage; what it finds is shown without a traceback of this module."""

    def __init__(self, *, stage: str, **more: Any) -> None:
        super().__init__(**more)
        self.stage = stage

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Show the sentences only."""
        if excinfo.errisinstance(AssertionError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, None, str]:
        """Name the test."""
        return self.config.rootpath, None, f"contract::{self.name}"


class ImportItem(ContractItem):
    """Fails: a stage cannot be imported."""

    def __init__(self, *, error: Exception, **more: Any) -> None:
        super().__init__(**more)
        self._error = error

    def runtest(self) -> None:
        """Tell why."""
        raise AssertionError(str(self._error))


class CheckItem(ContractItem):
    """One check of a stage."""

    def __init__(self, *, checks: Checks[Subject], check: StageCheck, **more: Any) -> None:
        super().__init__(**more)
        self._checks = checks
        self._check = check

    def runtest(self) -> None:
        """Make the check; skip it where it makes no sense."""
        from florilegium.testing.faults import ContractBroken

        if self._checks.is_pointless(self._check):
            pytest.skip("another check of this stage has failed, which this one requires")
        if faults := self._checks.faults(self._check):
            raise ContractBroken(self.stage, faults)
