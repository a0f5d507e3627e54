"""What a terminal shows and sends: text made harmless, progress, Ctrl-C."""
