"""What was annotated: structures, the slices that are complete, and the files they come from."""
