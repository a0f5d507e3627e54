"""Trying one stage on a few images: what it finds, a picture of it, and what it costs.

images -> chosen stages: this one and its upstream -> worker, as of a build -> table and pictures
"""
