"""Export of finished datasets to formats of other programs, a module for each format."""
