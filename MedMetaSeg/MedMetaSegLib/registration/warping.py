"""Images warped onto a fixed one from poses on, and how much they look like it then."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..stages import stage
from ..working_grid.reduced_image import ReducedImage
from .deformable import dense_displacements, mind_descriptors
from .pose import Pose
from .sampling import TensorImage, box, inside, sampled

_SMOOTHNESS = 0.3
"""Weight of smoothness in the warp, see `dense_displacements`."""
_STEPS = 50
"""Steps of gradient descent of a warp."""
_WINDOW = 7
"""Voxels along each axis of the window of local correlation."""


@dataclass(frozen=True, eq=False)
class FixedImage:
    """An image on the device onto which others are warped, and what is asked of it again and again.

    places: (3, k, j, i) millimetres; descriptors: (12, k, j, i); centred: the same, of mean 0 in every voxel;
    variance: (k, j, i), their mean square around each voxel.
    """

    image: TensorImage
    places: Tensor
    descriptors: Tensor
    centred: Tensor
    variance: Tensor

    @classmethod
    def of(cls, image: ReducedImage, device: torch.device) -> FixedImage:
        """What is made of an image."""
        found = TensorImage.of(image, device)
        descriptors = mind_descriptors(found.intensity)
        centred = descriptors - descriptors.mean(0)
        return cls(found, found.places(), descriptors, centred, box(centred.square().sum(0), _WINDOW))

    def warped(self, moving: TensorImage, poses: Sequence[Pose], check: Callable[[], None]) -> Tensor:
        """(N, 3, k, j, i) millimetres: of every voxel its place in the moving image, from each pose on.

        check: called between pieces of work; may raise.
        """
        with stage("bend"):
            values, masks = values_at(moving, torch.stack([moved(pose, self.places) for pose in poses]))
            bends = dense_displacements(
                self.descriptors, values, masks, steps=_STEPS, smoothness=_SMOOTHNESS, check=check
            )
            bends *= torch.from_numpy(self.image.spacing_mm).to(bends).view(3, 1, 1, 1)
            return torch.stack(
                [moved(pose, self.places + bend) for pose, bend in zip(poses, bends, strict=True)]
            )

    def local_ncc(self, moving: TensorImage, moving_mm: Tensor) -> Tensor:
        """(N, k, j, i), 0 to 1: correlation of the MIND descriptors in a window around each voxel.

        moving_mm: (N, 3, k, j, i), places in the moving image; the correlation is 0 outside it.
        """
        with stage("resemblance"):
            values, masks = values_at(moving, moving_mm)
            other = mind_descriptors(values)
            other -= other.mean(1, keepdim=True)
            covariance = box((self.centred * other).sum(1), _WINDOW)
            variances = self.variance * box(other.square_().sum(1), _WINDOW)
            return (covariance / variances.clamp_(min=1e-8).sqrt_()).clamp_(0, 1) * masks


def moved(pose: Pose, places: Tensor) -> Tensor:
    """Places (3, k, j, i) of the fixed image, millimetres, as places of the moving one; see `Pose`."""
    matrix, shift_mm = (torch.from_numpy(one).to(places) for one in (pose.matrix, pose.shift_mm))
    return torch.tensordot(matrix, places, 1) + shift_mm.view(3, 1, 1, 1)


def values_at(image: TensorImage, places: Tensor) -> tuple[Tensor, Tensor]:
    """An image at places (N, 3, k, j, i) in it, edges repeated, (N, k, j, i), and bool, where it has them."""
    index = image.index(places)
    values = sampled(image.intensity.expand(len(index), 1, -1, -1, -1), index)[:, 0]
    return values, inside(index, image.intensity.shape, margin=0.5)
