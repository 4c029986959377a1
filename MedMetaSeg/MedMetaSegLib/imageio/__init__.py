"""Images and label maps as files, and where their voxels lie in the patient."""
