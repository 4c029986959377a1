"""A phantom patient, and the whole road from its painted slices to a scene and pictures."""
