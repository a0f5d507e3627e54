"""Untrusted bytes become upright RGB pixels; pixels become a JPEG or a PNG.

`reading` has `read_header`, `check` and `decode`, `header` the limits, `tones` bit depth and
transparency, `orientation` the turning upright; each format that needs checks has a module. A file
with all its pixels is decoded even if its metadata is broken; a truncated file is refused. Errors
are `SampleError` with a reason.
"""
