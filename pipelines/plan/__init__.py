"""What a run will cost: a sample of images is sent through each stage and measured.

source -> sample -> probe: time and memory of each stage -> allocation: workers of each pool
"""
