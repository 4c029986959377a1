"""From a few annotated slices to the whole structure in the same volume."""
