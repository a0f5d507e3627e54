"""The report of a dataset: one page to look at, with its numbers and some of its images.

It reads a finished dataset's folder, wherever fsspec reaches, and knows no stage and no model.
"""

from pipelines.report.page import write_report

__all__ = ["write_report"]
