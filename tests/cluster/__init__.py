"""Jobs on a real Ray cluster: `make test-cluster`."""
