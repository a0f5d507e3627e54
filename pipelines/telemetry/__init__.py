"""What others see of a run: observers that tell services outside about it."""
