"""The differences between the labels of two rounds of a refinement."""
