"""How far an answer can be trusted: is it there, which Dice to expect, which slice to paint next."""
