"""What will be done: a config becomes a checked graph of stages, pools of workers, and shards."""
