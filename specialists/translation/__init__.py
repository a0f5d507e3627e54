"""Translation of annotations by models of `transformers`."""
