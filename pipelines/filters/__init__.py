"""The filters, which judge annotations: a file for each."""
