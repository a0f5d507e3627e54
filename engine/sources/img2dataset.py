"""The output folder of img2dataset: tars, each beside a Parquet file and a `_stats.json`.

The Parquet file names the samples that the tar should have: missing ones become dead letters. Rows
whose download failed are no inputs; img2dataset counts them in `_stats.json`.
"""

from __future__ import annotations

from collections.abc import Iterator

from florilegium.engine.core.errors import SampleError, StorageError
from florilegium.engine.core.sample import DeadLetter
from florilegium.engine.sources.archive import ARCHIVE_TOO_LARGE, CORRUPT_TAR, UNREAD_COMPRESSION
from florilegium.engine.sources.bounded_parquet import bounded_table
from florilegium.engine.sources.files import dead_letter
from florilegium.engine.sources.place import original, printable
from florilegium.engine.sources.source import Item, Reading
from florilegium.engine.sources.webdataset import WebDatasetSource, stem_of

MISSING_SAMPLE = "missing_sample"
UNCHECKED = "unchecked_tar"
"""The Parquet file, which names the samples of the tar, is a link or beyond a limit."""
_OF_TARS = (CORRUPT_TAR, UNREAD_COMPRESSION, ARCHIVE_TOO_LARGE)


class Img2DatasetSource(WebDatasetSource):
    """Tars that img2dataset wrote; url and original metadata come from the `json` in them."""

    companions = (".parquet", "_stats.json")

    def read(self, item: Item) -> Iterator[Reading | DeadLetter]:
        try:
            expected = self._successful_keys(item)
        except SampleError as error:
            expected = []
            yield dead_letter(item.location, item.location, UNCHECKED, error.message)
        seen: set[str] = set()
        cuts: list[DeadLetter] = []
        for result in super().read(item):
            if isinstance(result, DeadLetter) and result.reason in _OF_TARS and expected:
                cuts.append(result)  # missing samples are named one by one below
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
        """Return the keys of downloaded samples from the Parquet file; none where it is damaged.

        Raises:
            SampleError: it exists but is not read: a link, or beyond a limit.
        """
        name = f"{stem_of(original(item.location))}.parquet"
        try:
            data = self.place.read(name, limit=self.limits.max_sheet_bytes)
            table = bounded_table(data, self.limits, columns=["key", "status"])
            if table.num_rows > self.limits.max_archive_members:
                raise SampleError(UNCHECKED, f"{name} has {table.num_rows} rows")
            rows = zip(table["key"].to_pylist(), table["status"].to_pylist(), strict=True)
        except SampleError as error:
            cause = f"its samples cannot be held against {printable(name)}: {error.message}"
            raise SampleError(UNCHECKED, cause) from error
        except StorageError:
            raise
        except Exception:  # it is only needed to check the tar
            return []
        return [str(key) for key, status in rows if status == "success"]
