"""Fitting a calibration to an audit: how far each voter can be trusted."""
