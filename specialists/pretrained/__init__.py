"""What all stages with a model of `transformers` share: weights, loading, asking in batches."""
