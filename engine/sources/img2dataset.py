"""The output folder of img2dataset: tars, each beside a Parquet file and a `_stats.json`.

The Parquet file names the samples that the tar should hold: those it lost become dead letters.
Rows whose download failed never were inputs; img2dataset itself counts them in `_stats.json`.
"""

from __future__ import annotations

from collections.abc import Iterator

from engine.parquet import from_parquet
from engine.sample import DeadLetter
from engine.sources.archive import CORRUPT_TAR, UNREAD_COMPRESSION
from engine.sources.files import dead_letter
from engine.sources.place import original
from engine.sources.source import Item, Reading
from engine.sources.webdataset import WebDatasetSource, stem_of

MISSING_SAMPLE = "missing_sample"
_OF_TARS = (CORRUPT_TAR, UNREAD_COMPRESSION)


class Img2DatasetSource(WebDatasetSource):
    """Tars that img2dataset wrote; url and original metadata come from the `json` in them."""

    companions = (".parquet", "_stats.json")

    def read(self, item: Item) -> Iterator[Reading | DeadLetter]:
        expected = self._successful_keys(item)
        seen: set[str] = set()
        cuts: list[DeadLetter] = []
        for result in super().read(item):
            if isinstance(result, DeadLetter) and result.reason in _OF_TARS and expected:
                cuts.append(result)  # its losses are named one by one below
                continue
            seen.add(result.key if isinstance(result, DeadLetter) else result.name)
            yield result
        missing = [key for key in expected if key not in seen]
        cause = "; ".join(cut.message for cut in cuts) or "the tar does not hold it"
        for key in missing:
            location = f"{item.location}/{key}"
            yield dead_letter(key, location, MISSING_SAMPLE, f"downloaded, but {cause}")
        if not missing:
            yield from cuts

    def _successful_keys(self, item: Item) -> list[str]:
        """Return the keys that the Parquet file says were downloaded; none when it cannot say."""
        stem = stem_of(original(item.location))
        try:
            with self.place.open(f"{stem}.parquet") as file:
                table = from_parquet(file, columns=["key", "status"])
            rows = zip(table["key"].to_pylist(), table["status"].to_pylist(), strict=True)
        except Exception:  # it only serves to check the tar
            return []
        return [str(key) for key, status in rows if status == "success"]
