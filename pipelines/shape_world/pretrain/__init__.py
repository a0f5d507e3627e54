"""Makes the tiny Florence-2 student: its architecture, and its training on easy scenes."""
