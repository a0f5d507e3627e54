"""The files of `configs/deploy`, as far as they can be checked without the machines."""
