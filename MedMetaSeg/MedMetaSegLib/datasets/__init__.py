"""Labelled images: the cases that figures are made on, and which patients training may use."""
