"""A task learned from one or several patients, and applied to another on whom nothing is annotated."""
