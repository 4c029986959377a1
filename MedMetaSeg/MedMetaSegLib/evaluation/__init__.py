"""How good it is: metrics, protocols, baselines and the benchmark. Stands on top; not packaged for Slicer.

Needs the `evaluation` extra: itk-morphologicalcontourinterpolation, slicer-core, scikit-learn, matplotlib.
"""
