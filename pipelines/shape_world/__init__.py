"""A drawn world whose truth is known: scenes, specialists, scores, and a student made on it."""
