"""Models on a device: the engine against loops written by hand, `python -m tests.benchmarks.gpu`.

On a GPU networks have their real sizes and random weights; elsewhere they are tiny.
"""
