"""Sample filters: what images should not be in a dataset, a file for each."""
