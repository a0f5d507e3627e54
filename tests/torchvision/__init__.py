"""Tests of the models whose image processors need torchvision; all others prove we do without.

`python -m tests.torchvision` runs them in a process of their own (`make test` does), with the
arguments of pytest. The plain `pytest` passes by this folder where torchvision is not installed.
A test of another family is a `test_*.py` here like any other: it may import torchvision and
use the fixtures of `conftest.py`, among them those of tests/specialists. Only resizing and the
like work on a CPU-only torch; the operators in C (nms, roi_align) and processes that a test
starts have no torchvision.
"""
