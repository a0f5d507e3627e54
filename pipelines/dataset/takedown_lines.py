"""Removes what names an image from the log of runs and from audits."""

from __future__ import annotations

import re
from collections.abc import Collection
from contextlib import nullcontext

from florilegium.engine.core.redaction import redacted
from florilegium.engine.execution.log import LOG
from florilegium.engine.results.takedowns import Match
from florilegium.engine.storage.documents import parse_json
from florilegium.engine.storage.folder import Folder
from florilegium.engine.storage.lease import writing
from florilegium.engine.untrusted.escaped import escaped
from florilegium.pipelines.dataset.lineage import CANDIDATES

AUDIT = "audit.jsonl"
"""The file of an audit, in its dataset; of the candidates of a round, beside them."""
AUDIT_FILE = f"{CANDIDATES}/{AUDIT}"
"""The latter, within the dataset of a round."""
AUDIT_LOG = "audit"
"""The folder beside it with a log of each person's answers."""
_ENTRY = re.compile(r"(?=^\S)", re.MULTILINE)
"""Where an entry of the log begins: its other lines are indented."""


def strip_log(output: Folder, matches: Collection[Match], *, is_dry: bool = False) -> int:
    """Remove the entries of the log that name one of these images; return their number."""
    data = output.read(LOG)
    if not data or not matches:
        return 0
    named = _naming(matches)
    entries = [one for one in _ENTRY.split(data.decode("utf-8", "replace")) if one]
    kept = [one for one in entries if not named.search(one)]
    if len(kept) < len(entries) and not is_dry:
        output.publish(LOG, "".join(kept).encode())
    return len(entries) - len(kept)


def _naming(matches: Collection[Match]) -> re.Pattern[str]:
    """Return a pattern for entries about images: as `log_dead_letters` names them, or with the key
    in quotes, or with the name of the file. A bare key is not enough, as it may be a word, or the
    number of a shard."""
    keys = "|".join(sorted({re.escape(_as_logged(one.key)) for one in matches}))
    sources = sorted({_as_logged(one.source) for one in matches if one.source})
    places = "|".join([*map(re.escape, sources), "[^()]*"])
    files = [rf"(?<!\w){re.escape(one)}(?!\w)" for one in sources if "." in one]
    letter = rf"\A\S+ +\S+ +(?:\S+: )*(?:{keys}) \((?:{places})\): "
    return re.compile("|".join([letter, f"'(?:{keys})'", *files]))


def _as_logged(name: str) -> str:
    return str(escaped(redacted(name)))


def strip_audit(output: Folder, keys: Collection[str], *, is_dry: bool = False) -> int:
    """Remove the lines about samples with these keys from the audits of a dataset and of the
    candidates of its round, and from their logs; return their number, with `is_dry` only that.

    Raises:
        OutputInUse: people answer an audit right now, which would write the lines again.
    """
    if not keys:
        return 0
    count = 0
    for folder in ("", f"{CANDIDATES}/"):
        log = f"{folder}{AUDIT_LOG}"
        names = output.names(log)
        logs = [f"{log}/{name}" for name in names if name.endswith(".jsonl")]
        files = [f"{folder}{AUDIT}", *logs]
        is_held = bool(names) and not is_dry
        with writing(Folder(f"{output.url}/{log}")) if is_held else nullcontext():
            count += sum(_strip_lines(output, name, keys, is_dry=is_dry) for name in files)
    return count


def _strip_lines(output: Folder, name: str, keys: Collection[str], *, is_dry: bool) -> int:
    data = output.read(name)
    if not data:
        return 0
    lines = data.splitlines(keepends=True)
    kept = [line for line in lines if _key_in(line) not in keys]
    if len(kept) < len(lines) and not is_dry:
        output.publish(name, b"".join(kept))
    return len(lines) - len(kept)


def _key_in(line: bytes) -> str:
    """Return the key that a line of an audit names; none where it is no such line."""
    try:
        row = parse_json(line)
    except ValueError:
        return ""
    return str(row.get("key", "")) if isinstance(row, dict) else ""
