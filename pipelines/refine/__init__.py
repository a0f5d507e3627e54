"""The refinement loop: train a student on the labels, let it relabel, merge, measure, decide."""
