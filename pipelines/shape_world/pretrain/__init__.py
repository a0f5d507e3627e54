"""The tiny Florence-2 student: its architecture, and its pretraining on easy scenes."""
