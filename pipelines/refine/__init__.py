"""The refinement loop: train a student on the labels, relabel with it, merge, measure, decide."""
