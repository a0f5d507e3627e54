"""What is exported, read by the programs it is for; their packages are not in the environment."""
