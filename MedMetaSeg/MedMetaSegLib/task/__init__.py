"""A saved few-shot task: the file, its header, a folder of them. Knows no torch."""
