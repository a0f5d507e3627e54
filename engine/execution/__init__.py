"""Who does it: a run, its schedule, its workers, locally or on Ray, and what is lost on the way."""
