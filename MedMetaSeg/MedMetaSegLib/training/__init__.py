"""Meta-training: synthetic anatomies, episodes and the outer loop. Not needed inside Slicer."""
