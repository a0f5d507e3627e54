"""Input from outside, checked and bounded: JSON, YAML, names, secrets, and text to be shown."""
