"""The network: an encoder run once per image, prototypes of what was painted, a decoder that knows shape."""

STRIDE = 8
"""Voxels of which every axis that the encoder is given is a multiple: it halves three times."""
