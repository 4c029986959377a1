"""A task from one or several patients, applied to another on whom nothing is annotated."""
