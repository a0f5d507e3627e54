"""The report of a dataset: one HTML page with its numbers and some of its images.

It reads the folder of a finished dataset, local or remote, and loads no stage and no model.
"""
