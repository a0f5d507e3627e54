"""What a score is worth: audited annotations turn scores into probabilities of being right."""
