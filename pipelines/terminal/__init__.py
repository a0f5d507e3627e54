"""The terminal: printing untrusted text safely, showing progress, handling Ctrl-C."""
