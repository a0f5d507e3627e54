"""What a new plugin is called: in Python, on a package index, in configs.

One name gives all the others, so that each is found from the other. A name that would hide a
module, a plugin or a protocol that is there already is refused.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from keyword import iskeyword

from florilegium.engine.core.annotation import SOURCE
from florilegium.engine.core.errors import UsageError
from florilegium.engine.planning.registry import SOURCES, STAGES, installed_names
from florilegium.engine.untrusted.escaped import cut
from florilegium.engine.untrusted.names import LONGEST
from florilegium.pipelines.export.exporter import EXPORTERS
from florilegium.pipelines.scaffold.kind import Kind

GROUPS = {
    Kind.SPECIALIST: STAGES,
    Kind.FILTER: STAGES,
    Kind.SAMPLE_FILTER: STAGES,
    Kind.SOURCE: SOURCES,
    Kind.EXPORTER: EXPORTERS,
}
"""The group of entry points in which plugins of a kind are found."""
_AUTO = "auto"
"""The kind of a source whose URL tells what it is."""
_DISTRIBUTION = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
"""Names that packaging tools accept (PEP 508)."""


@dataclass(frozen=True, kw_only=True)
class Names:
    """`distribution` is the name for pip, `my-detector`; `module` the one in Python, in configs and
    on the command line, `my_detector`; `class_name` that of the class, `MyDetectorSpecialist`."""

    kind: Kind
    distribution: str
    module: str
    class_name: str

    @property
    def group(self) -> str:
        """The group of the plugin's entry point."""
        return GROUPS[self.kind]


def names_of(kind: Kind, name: str) -> Names:
    """Return the names of a new plugin from the one that its author gives.

    Raises:
        UsageError: it is no name of a package or of a module, or something has it already.
    """
    if not _DISTRIBUTION.fullmatch(name) or len(name) > LONGEST:
        raise UsageError(
            f"{cut(name)} is no name of a package: take up to {LONGEST} letters, digits and `-`, "
            f"as in `my-{kind.replace('_', '-')}`"
        )
    distribution = re.sub(r"[-_.]+", "-", name).lower()  # as PEP 503 compares names
    module = distribution.replace("-", "_")
    if problem := _problem_of(module) or _conflict_of(kind, module):
        raise UsageError(f"{cut(name)}: {problem}; choose another name, as in `my-{distribution}`")
    return Names(
        kind=kind,
        distribution=distribution,
        module=module,
        class_name=_class_name(module, suffix=_camel(kind)),
    )


def _problem_of(module: str) -> str:
    """Return why a name cannot be that of a new module, or ""."""
    if not module.isidentifier():
        return f"a module of Python cannot be called {module!r}: it begins with a digit"
    if iskeyword(module):
        return f"{module!r} is a keyword of Python"
    if module in sys.stdlib_module_names or _is_installed(module):
        return f"there is a module {module!r} already, which yours would hide"
    return ""


def _is_installed(module: str) -> bool:
    """Whether a package or module is installed; a folder that merely lies on the path is none."""
    spec = find_spec(module)
    return spec is not None and spec.origin is not None


def _conflict_of(kind: Kind, module: str) -> str:
    """Return what else a config, a URL or a command means by a name, or ""."""
    if module in installed_names(GROUPS[kind]):
        return f"{module!r} is installed already, in the group {GROUPS[kind]}"
    if GROUPS[kind] == STAGES and module == SOURCE:
        return f"{SOURCE!r} is the name of the labels that come with the images"
    if kind is Kind.SOURCE:
        from fsspec import available_protocols

        if module == _AUTO or module in available_protocols():
            return f"{module!r} has a meaning of its own in the URL or the `kind` of a source"
    return ""


def _class_name(module: str, *, suffix: str) -> str:
    """Return the name of the class: it ends with its kind, and so differs from its base class."""
    words = _camel(module)
    has_it = words.endswith(suffix) and words != suffix
    return words if has_it else words + suffix


def _camel(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))
