"""Segmenting in a process of its own, so that Slicer's window never waits. Knows neither Slicer nor Qt.

`client` is the side that asks, `process` the side that works, `exchange` what goes between them: arrays as
.npy files in a private folder, all else as one JSON object a line. Nothing is ever unpickled.
"""
