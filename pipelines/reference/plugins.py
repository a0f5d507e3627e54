"""What is installed: stages, sources, merge rules, exporters and importers, each
as its class describes it."""

from __future__ import annotations

from functools import partial

from pydantic import BaseModel

from florilegium.engine.planning.registry import (
    find_source,
    installed_names,
    source_names,
    stage_names,
)
from florilegium.pipelines.export.exporter import EXPORTERS, find_exporter
from florilegium.pipelines.imports.importer import IMPORTERS, find_importer
from florilegium.pipelines.merge.rules import RuleOptions, find_rule, rule_names
from florilegium.pipelines.reference.options import options_of
from florilegium.pipelines.reference.plugin import (
    Kind,
    Plugin,
    doc_of,
    name_of,
    nested,
    path_of,
    values_of,
)
from florilegium.pipelines.reference.stage import stage


def source(kind: str) -> Plugin:
    """Describe a kind of source, by its name or as `package.module:Class`.

    Raises:
        ConfigError: there is no such kind.
    """
    source_class = find_source(kind)
    options = options_of(source_class.Config)
    is_packed = "archives: an item has many images, and is a shard of its own"
    facts = {
        "reads": (is_packed if source_class.is_packed else "images one by one",),
        "labels": source_class.produces or ("those that it finds: name their tasks in `provides`",),
    }
    own = [("kind", kind), *values_of(source_class.Config, options)]
    return Plugin(
        name=name_of(kind),
        use=kind,
        path=path_of(source_class),
        doc=doc_of(source_class),
        facts=facts,
        config=source_class.Config,
        options=tuple(option for option in options if option.name != "kind"),
        stanza=nested(["source"], own),
    )


def rule(name: str) -> Plugin:
    """Describe a merge rule.

    Raises:
        ConfigError: there is no such rule.
    """
    rule_class = find_rule(name)
    fits = "one that is fitted to an audit; without it, `agreement` is used"
    needed = [(option, option.upper()) for option in rule_class.requires]
    return Plugin(
        name=name,
        use=name,
        path=path_of(rule_class),
        doc=doc_of(rule_class),
        facts={"calibration": (fits,)} if rule_class.needs_calibration else {},
        config=RuleOptions,
        options=options_of(RuleOptions),
        stanza=nested(["specialists", "merge"], [("rule", name), *needed]),
    )


def exporter(name: str) -> Plugin:
    """Describe an export format.

    Raises:
        ConfigError: there is no such format.
    """
    exporter_class = find_exporter(name)
    options = options_of(exporter_class.Config)
    return Plugin(
        name=name,
        use=name,
        path=path_of(exporter_class),
        doc=doc_of(exporter_class),
        facts={"command": (f"florilegium export DIR --format {name} --output FOLDER",)},
        config=exporter_class.Config,
        options=options,
        stanza=nested([], values_of(exporter_class.Config, options)),
    )


def importer(name: str) -> Plugin:
    """Describe an import format.

    Raises:
        ConfigError: there is no such format.
    """
    importer_class = find_importer(name)
    return Plugin(
        name=name,
        use=name,
        path=path_of(importer_class),
        doc=doc_of(importer_class),
        facts={"command": (f"florilegium import DIR FILE --format {name}",)},
        config=BaseModel,
        options=(),
        stanza="",
    )


STAGES = Kind(what="stage", names=stage_names, describe=stage)
SOURCES = Kind(what="source", names=source_names, describe=source)
RULES = Kind(what="merge rule", names=rule_names, describe=rule)
EXPORT_FORMATS = Kind(
    what="export format", names=partial(installed_names, EXPORTERS), describe=exporter
)
IMPORT_FORMATS = Kind(
    what="import format", names=partial(installed_names, IMPORTERS), describe=importer
)
