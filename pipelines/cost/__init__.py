"""Predicting the cost of a run: each stage is measured on a sample of the images.

source -> sample -> probe: time and memory of each stage -> allocation: workers of each pool
"""
