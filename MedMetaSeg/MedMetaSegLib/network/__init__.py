"""The network: an image encoder run once, prototypes of what was painted, and a decoder that reasons about shape."""
