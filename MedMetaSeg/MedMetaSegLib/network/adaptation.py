"""The inner loop: a few gradient steps of the network's head on the annotated slices.

Each annotated slice in turn is held out: the network sees the others and is told, at that slice, what it
should have said. Where the steps start and how large each parameter's are was meta-learned (Meta-SGD, Li et
al. 2017, on the head alone as in ANIL, Raghu et al., ICLR 2020). The loop is plain torch; training does the
same with learn2learn.

Whether to step at all is decided by the slices too: with each of them left out of the loop as well, as many
steps are taken as make its loss smallest, and none when none does.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor
from torch.func import functional_call

from ..errors import is_out_of_memory
from ..progress import check_cancelled
from .decoder import Head
from .inference import Array, EncodedImage, Predictor

STEPS = 4
"""Gradient steps that are tried at most."""
RECEPTIVE_RADIUS = 2
"""Planes on either side of one that its logits depend on, by the head's two convolutions."""
_LEAST_GAIN = 0.01
"""Share of the loss on slices left out that adaptation must save, or else the head stays as it is."""

Parameters = Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class HeldOut:
    """An annotated slice that the network did not see.

    x (B, F, d, j, i): the trunk's answer to the other slices, in the planes around it; prompt
    (B, C, d, j, i): what else the head reads there; plane: which of the d planes it is; target (B, 1, j, i):
    1 where it was annotated; known (B, 1, j, i): 1 where that is known.
    """

    x: Tensor
    prompt: Tensor
    plane: int
    target: Tensor
    known: Tensor


@dataclass(frozen=True, eq=False)
class Adaptation:
    """Parameters of the head, adapted to one structure.

    parameters: None for those that the head came with. steps: taken; before, after: mean loss on slices that
    were left out of the loop, without and with it.
    """

    parameters: Parameters | None
    steps: int
    before: float
    after: float

    def as_dict(self) -> dict[str, object]:
        """For a report."""
        return {"steps": self.steps, "loss_before": round(self.before, 4), "loss_after": round(self.after, 4)}


def around(plane: int, planes: int) -> slice:
    """The planes, of so many, that the logits of one depend on."""
    return slice(max(0, plane - RECEPTIVE_RADIUS), min(planes, plane + RECEPTIVE_RADIUS + 1))


def slice_loss(logits: Tensor, held: HeldOut) -> Tensor:
    """Soft Dice and cross-entropy of logits (B, 1, d, j, i) in the plane of a held-out slice."""
    here = logits[:, :, held.plane]
    pixels = held.known.sum().clamp(min=1.0)
    entropy = functional.binary_cross_entropy_with_logits(here, held.target, reduction="none")
    inside = torch.sigmoid(here) * held.known
    annotated = held.target * held.known
    dice = (2 * (inside * annotated).sum() + 1) / (inside.sum() + annotated.sum() + 1)
    return 1 - dice + (entropy * held.known).sum() / pixels


def support_loss(head: Head, parameters: Parameters, held: Sequence[HeldOut]) -> Tensor:
    """Mean loss of held-out slices under some parameters of the head."""
    losses = [slice_loss(functional_call(head, dict(parameters), (one.x, one.prompt)), one) for one in held]
    return torch.stack(losses).mean()


def inner_loop(
    head: Head,
    step_sizes: Sequence[Tensor],
    held: Sequence[HeldOut],
    steps: int = STEPS,
    learning: bool = False,
) -> list[Parameters]:
    """The head's parameters after 0, 1, ... steps on held-out slices.

    step_sizes: as the head's parameters, in their order. learning: keep the graph, for the outer loop.
    """
    parameters: dict[str, Tensor] = dict(head.named_parameters())
    if not learning:
        parameters = {name: value.detach().requires_grad_(True) for name, value in parameters.items()}
    passed: list[Parameters] = [parameters]
    for _ in range(steps):
        loss = support_loss(head, parameters, held)
        gradients = torch.autograd.grad(loss, list(parameters.values()), create_graph=learning)
        parameters = {
            name: value - size * gradient
            for (name, value), size, gradient in zip(parameters.items(), step_sizes, gradients, strict=True)
        }
        if not learning:
            parameters = {name: value.detach().requires_grad_(True) for name, value in parameters.items()}
        passed.append(parameters)
    return passed


def adapted(
    head: Head, step_sizes: Sequence[Tensor], held: Sequence[HeldOut], steps: int = STEPS
) -> Adaptation:
    """The head adapted to one structure's held-out slices. Raises ValueError for fewer than two."""
    if len(held) < 2:
        raise ValueError("adaptation needs two slices at least")
    step_sizes = [one.detach() for one in step_sizes]
    with torch.inference_mode(False), torch.enable_grad():
        # A call with other parameters puts them into the module meanwhile: not where other threads use it.
        head = copy.deepcopy(head)
        losses = torch.zeros(steps + 1)
        for number, left_out in enumerate(held):
            rest = [*held[:number], *held[number + 1 :]]
            for step, parameters in enumerate(inner_loop(head, step_sizes, rest, steps)):
                with torch.no_grad():
                    losses[step] += support_loss(head, parameters, [left_out]).float().cpu() / len(held)
        best = int(losses.argmin())
        before, after = float(losses[0]), float(losses[best])
        if after > (1 - _LEAST_GAIN) * before:
            return Adaptation(None, 0, before, before)
        last = inner_loop(head, step_sizes, held, best)[-1]
    return Adaptation({name: value.detach() for name, value in last.items()}, best, before, after)


def adapted_to_slices(
    predictor: Predictor,
    image: Array,
    slices: Sequence[tuple[int, Array, np.ndarray]],
    encoded: EncodedImage,
    cancelled: Callable[[], bool],
) -> Adaptation | None:
    """The head adapted to one structure's annotated slices, or None where that cannot be.

    It cannot with a single slice, where the image needs several windows, and when memory runs out (noted).
    image: (IMAGE_CHANNELS, k, j, i); slices: of every annotated slice its plane, the prompt
    (PROMPT_CHANNELS, k, j, i) of the others, and bool (j, i) where it was annotated. Raises Cancelled.
    """
    if len(slices) < 2 or len(encoded.windows) > 1:
        return None
    try:
        held = _held_out(predictor, image, slices, encoded, cancelled)
        return adapted(predictor.network.decoder.head, list(predictor.network.step_sizes), held)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        predictor.note("Memory ran out while adapting: the network was used as it came.")
        return None


def _held_out(
    predictor: Predictor,
    image: Array,
    slices: Sequence[tuple[int, Array, np.ndarray]],
    encoded: EncodedImage,
    cancelled: Callable[[], bool],
) -> list[HeldOut]:
    held = []
    for plane, prompt, annotated in slices:
        check_cancelled(cancelled)
        x, read = predictor.trunk(image, prompt, encoded)
        planes = around(plane, image.shape[1])
        sides = [annotated, annotated[:, ::-1]] if encoded.mirrored else [annotated]
        target = torch.from_numpy(np.stack(sides)[:, None].astype(np.float32)).to(x.device)
        held.append(
            HeldOut(
                x[:, :, planes].clone(),
                read[:, :, planes].clone(),
                plane - planes.start,
                target,
                torch.ones_like(target),
            )
        )
    return held
