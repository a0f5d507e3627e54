"""Speed and memory, as ratios: `python -m tests.benchmarks`. Minutes; not part of the tests."""
