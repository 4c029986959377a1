"""Comparison with examples: which of several groups of measured cases a case is most like, if any.

For research on few examples, not a diagnosis. A case is a row of named measurements and the network's pooled
embedding of each structure; a group is the mean of its examples, as in prototypical networks (Snell et al.,
2017). Whether the groups can be told apart at all is asked by cross-validation and a permutation test first.
"""
