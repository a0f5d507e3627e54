"""Tiny checkpoints, made from the config classes of `transformers`, one module per stage."""
