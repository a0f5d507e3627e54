"""The machine: moves samples, asks stages, remembers answers. Knows no model."""
