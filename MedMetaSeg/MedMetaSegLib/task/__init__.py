"""A task is a saved few-shot task: what was learned from supports, for other patients. Knows no torch."""
