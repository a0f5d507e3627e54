"""What is remembered: layers, judged annotations, finished shards, the manifest, versions."""
