"""The network's embedding of a structure: what its encoder makes of the image, averaged over the mask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ..imageio.volume import Volume
from ..network.image_evidence import image_channels
from ..network.inference import Predictor, chosen_device
from ..network.prompt_channels import BACKGROUND, FOREGROUND, PROMPT_CHANNELS
from ..network.weights import load_network
from ..support.structure import AnnotatedStructure, StructureMask, filled_slices
from ..working_grid.grid import FINER, Bounds, WorkingGrid, sampled_image, working_grid
from ..working_grid.intensity import IntensityNormalization
from ..working_grid.reduced_image import slice_axis

_LEFT_RIGHT = 2
"""The axis of a canonical volume that runs from left to right."""
_MASK_RANGE = IntensityNormalization("MR", 0.0, 1.0, "A mask goes from 0 to 1.")


def shipped_predictor(device: str) -> tuple[Predictor, str]:
    """The network that the extension ships, on "auto", "cpu" or "cuda", and the checksum of its weights.

    Raises WeightsError as `load_network`, and InputError as `chosen_device`.
    """
    network, provenance = load_network()
    return Predictor(network, chosen_device(device)[0]), str(provenance["sha256"])


def pooled_embedding(
    volume: Volume,
    intensities: IntensityNormalization,
    mask: StructureMask,
    predictor: Predictor,
    cancelled: Callable[[], bool],
) -> np.ndarray:
    """The unit vector (E,) that stands for a structure: the mean of the encoder's features over its voxels.

    The mean of the image and of its mirror image, left for right, so that the side has no say.

    volume: canonical and without world position; mask: on its grid, with voxels. Voxels of the working grid
    count by how much of them the structure fills. Raises Cancelled.
    """
    grid = _grid(volume, mask)
    whole = np.zeros(volume.array.shape, np.uint8)
    whole[mask.region] = mask.mask
    filled = np.clip(sampled_image(replace(volume, array=whole), grid, _MASK_RANGE), 0, 1)
    prompt = np.zeros((PROMPT_CHANNELS, *grid.shape), np.float32)
    prompt[FOREGROUND], prompt[BACKGROUND] = filled, 1 - filled
    image = image_channels(sampled_image(volume, grid, intensities)).numpy()
    across = 1 + grid.order.index(_LEFT_RIGHT)
    sides = [
        predictor.prototypes(*pair, cancelled).mean[0].double().numpy()
        for pair in ((image, prompt), (np.flip(image, across), np.flip(prompt, across)))
    ]
    mean = np.sum(sides, 0)
    return np.asarray(mean / np.linalg.norm(mean))


def _grid(volume: Volume, mask: StructureMask) -> WorkingGrid:
    """The grid on which the structure would be looked for, seen on all of its slices."""
    axis = slice_axis(np.array(volume.geometry.spacing_mm))
    slices = tuple((filled_slices(mask.mask, axis) + mask.offset[axis]).tolist())
    annotated = AnnotatedStructure(mask.structure, mask.offset, mask.mask, axis, slices)
    return working_grid(annotated, volume.geometry, Bounds.of(volume.geometry, volume.geometry), detail=FINER)
