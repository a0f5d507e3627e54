"""Each folder of `docs/examples` does what its README says."""
