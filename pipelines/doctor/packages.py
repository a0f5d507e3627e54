"""Python, this distribution, what it depends on and its extras, without importing any of them."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from florilegium.pipelines.doctor.finding import ABSENT, OK, PROBLEM, WARNING, Finding, Level

TOPIC = "packages"
EXTRAS = "extras"
_OURS = "florilegium"
_FOR_US = ("dev", "docs")
"""Extras for those who work on the distribution itself."""


@dataclass(frozen=True, kw_only=True)
class Lack:
    """A requirement that is not met; `found` is the version that is there instead, if any."""

    requirement: str
    found: str = ""

    def __str__(self) -> str:
        return f"{self.requirement} ({self.found} is here)" if self.found else self.requirement


def package_findings() -> Iterator[Finding]:
    """Yield what is found about all packages that this distribution names."""
    ours = distribution(_OURS)
    yield _python(ours)
    yield Finding(topic=TOPIC, name=_OURS, level=OK, text=f"{ours.version}, {_where(ours)}")
    requirements = [Requirement(text) for text in ours.requires or ()]
    for requirement in requirements:
        if _extra_of(requirement) is None and _applies(requirement):
            yield _dependency(requirement)
    for extra in ours.metadata.get_all("Provides-Extra") or ():
        if extra not in _FOR_US:
            yield _extra(extra, [one for one in requirements if _applies(one, extra)])


def _python(ours: Distribution) -> Finding:
    here, wanted = platform.python_version(), ours.metadata["Requires-Python"]
    is_fit = SpecifierSet(wanted).contains(here, prereleases=True)
    cure = "" if is_fit else f"make an environment with a Python {wanted}"
    text = f"{here} ({wanted} is needed)"
    level: Level = OK if is_fit else PROBLEM
    return Finding(topic=TOPIC, name="Python", level=level, text=text, cure=cure)


def _where(ours: Distribution) -> str:
    """Return where a distribution lies, and whether it was installed to be edited."""
    origin = json.loads(ours.read_text("direct_url.json") or "{}")
    if origin.get("dir_info", {}).get("editable"):
        return f"editable, in {origin['url'].removeprefix('file://')}"
    return f"in {ours.locate_file('')}"


def _applies(requirement: Requirement, extra: str = "") -> bool:
    """Whether a requirement is one of this Python, and of an extra where it is named."""
    if requirement.marker is None:
        return not extra
    has_extra = requirement.marker.evaluate({"extra": extra})
    return has_extra and not (extra and requirement.marker.evaluate({"extra": ""}))


def _extra_of(requirement: Requirement) -> str | None:
    return "extra" if requirement.marker and "extra ==" in str(requirement.marker) else None


def _dependency(requirement: Requirement) -> Finding:
    lacks = list(lacks_of(requirement))
    if not lacks:
        found = distribution(requirement.name).version
        text = f"{found} ({requirement.specifier})" if requirement.specifier else found
        return Finding(topic=TOPIC, name=requirement.name, level=OK, text=text)
    text = f"not met: {', '.join(map(str, lacks))}"
    cure = f"pip install '{_plain(requirement)}'"
    return Finding(topic=TOPIC, name=requirement.name, level=PROBLEM, text=text, cure=cure)


def _extra(extra: str, requirements: list[Requirement]) -> Finding:
    lacks = [lack for requirement in requirements for lack in lacks_of(requirement)]
    if not lacks:
        return Finding(topic=EXTRAS, name=extra, level=OK, text="complete")
    is_unfit = any(lack.found for lack in lacks)
    return Finding(
        topic=EXTRAS,
        name=extra,
        level=WARNING if is_unfit else ABSENT,
        text=f"lacks {', '.join(map(str, lacks))}",
        cure=f"pip install '{_OURS}[{extra}]'",
    )


def lacks_of(requirement: Requirement) -> Iterator[Lack]:
    """Yield what is missing or does not fit of a requirement, that of its extras included."""
    wanted = _plain(requirement)
    try:
        found = distribution(requirement.name)
    except PackageNotFoundError:
        yield Lack(requirement=wanted)
        return
    if not requirement.specifier.contains(found.version, prereleases=True):
        yield Lack(requirement=wanted, found=found.version)
    for extra in sorted(requirement.extras):
        for text in found.requires or ():
            if _applies(one := Requirement(text), extra):
                yield from lacks_of(one)


def _plain(requirement: Requirement) -> str:
    """Return a requirement without its marker."""
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    return f"{requirement.name}{extras}{requirement.specifier}"
