"""What the quickstart states about 120 photographs, against a truth written by hand.

make photographs                                    # once: download them with pip
python -m tests.benchmarks.first_impression         # build, print the table, list what is wrong
"""
