"""What two rounds of a refinement say differently."""
