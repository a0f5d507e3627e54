"""Who cuts masks."""
