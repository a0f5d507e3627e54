"""A plugin of pytest: a test for each check of each stage, source and exporter of a distribution.

In `pyproject.toml` of a package with plugins:

    [tool.pytest.ini_options]
    florilegium_contract = ["my-plugin"]

names distributions as pip does; `package.module:Class` names a single class. Each check of each
plugin is a test, `contract::NAME::CHECK`, in every run that is not limited to some files. A hook in
`conftest.py` gives options to those that need some; a source always needs what it reads:

    def pytest_florilegium_options(name):
        options = {"my_detector": {"model": "tests/tiny"}, "my_source": {"url": "tests/images"}}
        return options.get(name)

It may take a second argument, `kind`: "stage", "source" or "exporter".

The fixtures `florilegium_samples` and `florilegium_dataset` are those of `florilegium.testing`.
Every pytest loads this module where the distribution is installed: it imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from florilegium.engine.core.sample import Sample
    from florilegium.testing.checks import Check, Checks
    from florilegium.testing.contracts import Contract

OPTION = "florilegium_contract"


class Hooks:
    """The hooks that a `conftest.py` may have."""

    @pytest.hookspec(firstresult=True)
    def pytest_florilegium_options(self, name: str, kind: str) -> dict[str, Any] | None:
        """Return the options with which a plugin is checked, `None` for its defaults."""


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Make the hook known."""
    pluginmanager.add_hookspecs(Hooks)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Make the ini option known."""
    parser.addini(
        OPTION,
        "distributions, or package.module:Class, whose plugins must keep their contracts",
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
    """Yield the tests of a distribution, or of one class."""
    from florilegium.engine.core.errors import FlorilegiumError
    from florilegium.testing.contracts import CONTRACTS, contract_of

    if ":" in name:
        try:
            contract = contract_of(name)
        except FlorilegiumError as error:
            yield _item(FailedItem, session, name, "can_be_checked", error=error)
        else:
            yield from _items_of_plugin(session, contract, name, name)
        return
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        points = distribution(name).entry_points
    except PackageNotFoundError:
        raise pytest.UsageError(
            f"{OPTION}: no distribution {name!r} is installed: pip install -e ."
        ) from None
    groups = {one.group: one for one in CONTRACTS}
    found = [point for point in points if point.group in groups]
    if not found:
        raise pytest.UsageError(
            f"{OPTION}: {name!r} has no entry point of the groups {', '.join(groups)}: write it in "
            f"its pyproject.toml and install again"
        )
    for point in sorted(found, key=lambda one: (list(groups).index(one.group), one.name)):
        yield from _items_of_plugin(session, groups[point.group], point.name, point.value)


def _items_of_plugin(
    session: pytest.Session, contract: Contract, name: str, value: str
) -> Iterator[pytest.Item]:
    from florilegium.engine.core.errors import FlorilegiumError
    from florilegium.testing.contracts import checks_of

    options = session.config.hook.pytest_florilegium_options(name=name, kind=contract.what)
    folder = TemporaryDirectory(prefix="florilegium-")
    session.config.add_cleanup(folder.cleanup)
    try:
        checks = checks_of(contract, value, options, Path(folder.name))
    except FlorilegiumError as error:
        yield _item(FailedItem, session, name, "can_be_checked", error=error)
        return
    for check in checks.every:
        yield _item(CheckItem, session, name, check.__name__, checks=checks, check=check)


def _item(kind: Any, session: pytest.Session, plugin: str, test: str, **more: Any) -> pytest.Item:
    name = f"{plugin}::{test}"
    item: pytest.Item = kind.from_parent(
        session, name=name, nodeid=f"contract::{name}", plugin=plugin, **more
    )
    return item


class ContractItem(pytest.Item):
    """A test of a plugin; what it finds is shown without a traceback of this module."""

    def __init__(self, *, plugin: str, **more: Any) -> None:
        super().__init__(**more)
        self.plugin = plugin

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Show the sentences only."""
        if excinfo.errisinstance(AssertionError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, None, str]:
        """Name the test."""
        return self.config.rootpath, None, f"contract::{self.name}"


class FailedItem(ContractItem):
    """Fails: a plugin cannot be imported, or a source has nothing to read."""

    def __init__(self, *, error: Exception, **more: Any) -> None:
        super().__init__(**more)
        self._error = error

    def runtest(self) -> None:
        """Tell why."""
        raise AssertionError(str(self._error))


class CheckItem(ContractItem):
    """One check of a plugin."""

    def __init__(self, *, checks: Checks[Any], check: Check[Any], **more: Any) -> None:
        super().__init__(**more)
        self._checks = checks
        self._check = check

    def runtest(self) -> None:
        """Make the check; skip it where it makes no sense."""
        from florilegium.testing.faults import ContractBroken

        if self._checks.is_pointless(self._check):
            pytest.skip("another check of this plugin has failed, which this one requires")
        if faults := self._checks.faults(self._check):
            raise ContractBroken(self.plugin, faults)
