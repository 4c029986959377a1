"""A case beside examples of groups: how far it is from each, by few named measurements."""
