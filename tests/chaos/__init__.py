"""Builds on a real Ray of several nodes, while processes and nodes are killed."""
