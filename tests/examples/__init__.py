"""What takes longer of the examples of `docs/examples`: `make test-examples`."""
