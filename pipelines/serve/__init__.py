"""Pages about a dataset on this machine: a small web server for one person, or a few."""
