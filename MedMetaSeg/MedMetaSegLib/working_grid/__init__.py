"""Where the network looks for one structure: a grid of its own, and the image on it."""
