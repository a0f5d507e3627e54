"""Who compares images with words: tags, labels of regions, scores."""
