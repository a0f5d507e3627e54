"""Many voters, one statement: what several specialists say of one thing becomes one annotation."""
