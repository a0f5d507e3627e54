"""The audit: what people are asked about a dataset, what they answer, and what follows."""
