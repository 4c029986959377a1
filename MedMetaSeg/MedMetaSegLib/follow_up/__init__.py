"""Two images of one patient: lesions matched, and how each has changed."""
