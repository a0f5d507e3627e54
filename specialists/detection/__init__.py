"""Who finds objects: by the classes of a checkpoint, or by names that are asked for."""
