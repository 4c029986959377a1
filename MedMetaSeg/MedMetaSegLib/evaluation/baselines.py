"""What people use today, on the same support: Fill between slices, Grow from seeds, a random forest.

Each is an Interaction: of a volume and a support it yields a Prediction per structure, in the support's
order. The support must lie on the volume's grid and hold whole slices. Every baseline knows what MedMetaSeg
knows: a structure's annotated slices are complete, and a voxel given to another structure is not this one's.
Each structure is run on its own against that background: a slice annotated for one structure says nothing of
others outside it, so a run of all structures together would have to invent a background. Annotated slices
come out as annotated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata

import numpy as np
from scipy import ndimage

from ..errors import InputError
from ..imageio.volume import Volume
from ..support.structure import AnnotatedStructure, StructureMask
from ..support.support import Support

Box = tuple[slice, slice, slice]

UNKNOWN, FOREGROUND, BACKGROUND = 0, 1, 2
"""Values of `known_labels`."""

MARGIN_FACTOR = 0.25
"""Margin of the search box, as a fraction of the annotated extent."""
MINIMUM_MARGIN_MM = 10.0
"""Margin of the search box in mm at least."""
FOREST_TREES = 50
"""Trees of a random forest."""
FOREST_SCALES = (1.0, 2.0, 4.0)
"""Scales of a forest's filters, in multiples of the finest spacing."""
FOREST_SAMPLES = 10_000
"""Voxels of each class that a forest learns from at most."""
FOREST_JOBS = 2
"""Processor cores of a forest."""
PREDICTION_CHUNK = 500_000
"""Voxels that a forest answers for at once, which bounds its memory."""


Prediction = StructureMask
"""One structure as a method predicts it, on the volume's grid."""

Interaction = Callable[[Volume, Support], Iterator[Prediction]]
"""One run of a method, as a user starts it: all structures of a support on one volume."""


@dataclass(frozen=True)
class Baseline:
    """A method that needs no weights: its name, the title tables show, and how it is run.

    package: whose version, with revision, decides whether old rows still stand.
    """

    name: str
    title: str
    package: str
    revision: int
    run: Interaction

    @property
    def is_installed(self) -> bool:
        """Whether the package that it needs is there."""
        return any(metadata.distributions(name=self.package))

    @property
    def version(self) -> str:
        """Revision and the package's version. Raises InputError when the package is not installed."""
        try:
            return f"{self.revision} ({self.package} {metadata.version(self.package)})"
        except metadata.PackageNotFoundError as error:
            raise InputError(f"{self.title} needs {self.package}; install medmetaseg[evaluation]") from error


def fill_between_slices(volume: Volume, support: Support) -> Iterator[Prediction]:
    """ITK's morphological contour interpolation, as Slicer's effect runs it.

    Zukic et al., Insight Journal 2016. Nothing beyond the outermost annotated slices; one annotated slice
    comes back as it is.
    """
    import itk

    # With several threads some processes that ran this filter aborted at their end (a corrupt heap); with one
    # thread none did.
    itk.MultiThreaderBase.SetGlobalDefaultNumberOfThreads(1)
    for annotated in support.structures:
        axis = _drawing_axis(annotated)
        if len(annotated.slices) > 1:
            image = itk.image_from_array(np.pad(annotated.mask, 1).astype(np.uint8))
            # ITK counts axes i, j, k; arrays here k, j, i.
            filled = itk.morphological_contour_interpolator(image, axis=2 - axis)
            mask = itk.array_from_image(filled)[1:-1, 1:-1, 1:-1] > 0
        else:
            mask = annotated.mask
        yield Prediction(annotated.structure, annotated.offset, mask)


def grow_from_seeds(volume: Volume, support: Support) -> Iterator[Prediction]:
    """Slicer's own GrowCut (vtkImageGrowCutSegment, Zhu et al. 2014) with the effect's default locality of 0.

    Foreground seeds are the structure's annotated voxels; background seeds the rest of its annotated slices
    and the other structures' voxels; it grows within search_box, as the effect grows within its seeds and a
    margin.
    """
    import slicer
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

    def image(array: np.ndarray) -> vtk.vtkImageData:
        data = vtk.vtkImageData()
        data.SetDimensions(*array.shape[::-1])
        data.SetSpacing(*volume.geometry.spacing_mm[::-1])
        data.GetPointData().SetScalars(numpy_to_vtk(array.ravel(), deep=True))
        return data

    for annotated in support.structures:
        box = search_box(annotated, volume.geometry.shape, volume.geometry.spacing_mm)
        seeds = known_labels(support, annotated, box)
        growcut = slicer.vtkImageGrowCutSegment()
        growcut.SetIntensityVolume(image(np.ascontiguousarray(volume.array[box], dtype=np.float32)))
        growcut.SetSeedLabelVolume(image(seeds))
        growcut.Update()
        grown = vtk_to_numpy(growcut.GetOutput().GetPointData().GetScalars()).reshape(seeds.shape)
        yield Prediction(annotated.structure, _start(box), _as_annotated(grown == FOREGROUND, seeds))


def random_forest(volume: Volume, support: Support) -> Iterator[Prediction]:
    """A random forest per structure on multi-scale filters and position, as ilastik or Trainable Weka would.

    Features per voxel: intensity; at each scale the Gaussian, gradient magnitude, Laplacian and the
    Hessian's eigenvalues (scales are multiples of the finest spacing, in mm); position in mm. Trained on
    the known voxels of search_box (at most FOREST_SAMPLES of each class), predicted within it.
    """
    from sklearn.ensemble import RandomForestClassifier

    geometry = volume.geometry
    boxes = [search_box(annotated, geometry.shape, geometry.spacing_mm) for annotated in support.structures]
    whole = _union(boxes)
    features = filter_bank(volume.array[whole], geometry.spacing_mm)
    random = np.random.default_rng(0)
    for annotated, box in zip(support.structures, boxes, strict=True):
        inner = tuple(slice(b.start - w.start, b.stop - w.start) for b, w in zip(box, whole, strict=True))
        known = known_labels(support, annotated, box)
        shape = known.shape
        values = features[inner].reshape(-1, features.shape[-1])
        samples = np.concatenate(
            [
                random.permutation(np.flatnonzero(known == label))[:FOREST_SAMPLES]
                for label in (FOREGROUND, BACKGROUND)
            ]
        )
        forest = RandomForestClassifier(
            FOREST_TREES, min_samples_leaf=3, class_weight="balanced", n_jobs=FOREST_JOBS, random_state=0
        )
        forest.fit(values[samples], known.ravel()[samples] == FOREGROUND)
        mask = np.concatenate(
            [
                forest.predict(values[start : start + PREDICTION_CHUNK])
                for start in range(0, len(values), PREDICTION_CHUNK)
            ]
        ).reshape(shape)
        yield Prediction(annotated.structure, _start(box), _as_annotated(mask, known))


BASELINES = (
    Baseline("fill", "Fill between slices", "itk-morphologicalcontourinterpolation", 1, fill_between_slices),
    Baseline("grow", "Grow from seeds", "slicer-core", 1, grow_from_seeds),
    Baseline("forest", "Random forest", "scikit-learn", 1, random_forest),
)


def search_box(annotated: AnnotatedStructure, shape: Sequence[int], spacing_mm: Sequence[float]) -> Box:
    """Where a baseline looks for the structure: its annotated extent and a margin, within the grid.

    The margin is a quarter of the annotated extent, at least 10 mm. One slice says nothing of the extent
    across it: there the margin is half its larger in-plane extent.
    """
    axis = _drawing_axis(annotated)
    extent_mm = [size * step for size, step in zip(annotated.mask.shape, spacing_mm, strict=True)]
    margin_mm = [max(MINIMUM_MARGIN_MM, MARGIN_FACTOR * extent) for extent in extent_mm]
    if len(annotated.slices) == 1:
        margin_mm[axis] = max(MINIMUM_MARGIN_MM, 0.5 * max(e for a, e in enumerate(extent_mm) if a != axis))
    margin = [int(np.ceil(m / step)) for m, step in zip(margin_mm, spacing_mm, strict=True)]
    start = [max(0, offset - m) for offset, m in zip(annotated.offset, margin, strict=True)]
    stop = [
        min(size, offset + extent + m)
        for size, offset, extent, m in zip(shape, annotated.offset, annotated.mask.shape, margin, strict=True)
    ]
    return slice(start[0], stop[0]), slice(start[1], stop[1]), slice(start[2], stop[2])


def known_labels(support: Support, annotated: AnnotatedStructure, box: Box) -> np.ndarray:
    """What the support says of one structure in a box.

    Returns int16 (k, j, i) of UNKNOWN, FOREGROUND and BACKGROUND.
    """
    known = np.full([b.stop - b.start for b in box], UNKNOWN, dtype=np.int16)
    if not support.overlapping:
        for other in support.structures:
            _write(known, other, box, BACKGROUND)
    axis = _drawing_axis(annotated)
    np.moveaxis(known, axis, 0)[[index - box[axis].start for index in annotated.slices]] = BACKGROUND
    _write(known, annotated, box, FOREGROUND)
    return known


def filter_bank(array: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
    """Features float32 (k, j, i, feature): intensity, six filters a scale, position in mm."""
    image: np.ndarray = array.astype(np.float32)
    finest = min(spacing_mm)
    channels: list[np.ndarray] = [image]
    for scale in FOREST_SCALES:
        sigma = [scale * finest / step for step in spacing_mm]
        smooth = ndimage.gaussian_filter(image, sigma, truncate=3.0)
        gradient = [np.gradient(smooth, step, axis=axis) for axis, step in enumerate(spacing_mm)]
        hessian = np.empty((*image.shape, 3, 3), dtype=np.float32)
        for a in range(3):
            for b in range(a, 3):
                hessian[..., a, b] = hessian[..., b, a] = np.gradient(gradient[a], spacing_mm[b], axis=b)
        eigenvalues = np.linalg.eigvalsh(hessian)
        channels += [smooth, np.sqrt(sum(g * g for g in gradient)), eigenvalues.sum(-1)]
        channels += [eigenvalues[..., index] for index in range(3)]
    channels += list(
        np.meshgrid(*(np.arange(n) * s for n, s in zip(image.shape, spacing_mm, strict=True)), indexing="ij")
    )
    return np.stack(channels, axis=-1).astype(np.float32)


def _write(known: np.ndarray, annotated: AnnotatedStructure, box: Box, value: int) -> None:
    """Write the value where the structure is annotated, in the box; known starts at the box's corner."""
    target, source = [], []
    for offset, size, b in zip(annotated.offset, annotated.mask.shape, box, strict=True):
        start, stop = max(offset, b.start), min(offset + size, b.stop)
        if start >= stop:
            return
        target.append(slice(start - b.start, stop - b.start))
        source.append(slice(start - offset, stop - offset))
    known[tuple(target)][annotated.mask[tuple(source)]] = value


def _as_annotated(mask: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The mask, with what is known put in its place."""
    return (mask.astype(bool) | (known == FOREGROUND)) & (known != BACKGROUND)


def _drawing_axis(annotated: AnnotatedStructure) -> int:
    if annotated.axis is None:
        raise ValueError(f"{annotated.structure.name}: baselines need whole annotated slices")
    return annotated.axis


def _start(box: Box) -> tuple[int, int, int]:
    return box[0].start, box[1].start, box[2].start


def _union(boxes: Sequence[Box]) -> Box:
    k, j, i = (slice(min(b[a].start for b in boxes), max(b[a].stop for b in boxes)) for a in range(3))
    return k, j, i
