"""A world whose truth is known: drawn scenes, on which labels can be measured exactly."""
