"""The common base of stages with a `transformers` model: checkpoints, loading, batched
inference."""
