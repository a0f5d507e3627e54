"""Whether a dataset is whole and unchanged, and signatures."""
