"""What an audit teaches: how far each voter can be trusted, fitted as a calibration."""
