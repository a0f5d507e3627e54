"""Florence-2, released or trained by the refinement loop: 15 tasks, with scores."""
