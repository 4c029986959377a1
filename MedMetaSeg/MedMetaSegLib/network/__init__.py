"""The network: an encoder run once per image, prototypes of what was painted, a decoder that knows shape."""
