"""The inner loop: a few gradient steps of the network's head on the slices that were drawn.

Each drawn slice in turn is held out: the network sees the others and is told, at that slice, what it should
have said. Where the steps start and how large each parameter's are was meta-learned (Meta-SGD, Li et al.
2017, on the head alone as in ANIL, Raghu et al., ICLR 2020). The loop is plain torch; training does the same
with learn2learn.

Whether to step at all is decided by the slices too: with each of them left out of the loop as well, as many
steps are taken as make its loss smallest, and none when none does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor
from torch.func import functional_call

from ..errors import Cancelled
from .decoder import Head
from .inference import Array, EncodedImage, Predictor, is_out_of_memory

STEPS = 4
REACH = 2
"""Planes on either side of one that have a say in its logits, by the head's two convolutions."""
_LEAST_GAIN = 0.01
"""Of the loss on slices left out: below that, the head stays as it is."""

Parameters = Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class HeldOut:
    """A drawn slice that the network did not see.

    x (B, F, d, j, i): the trunk's answer to the other slices, in the planes around it; prompt
    (B, C, d, j, i): what else the head reads there; plane: which of the d planes it is; target (B, 1, j, i):
    1 where it was drawn; known (B, 1, j, i): 1 where that is known.
    """

    x: Tensor
    prompt: Tensor
    plane: int
    target: Tensor
    known: Tensor


@dataclass(frozen=True, eq=False)
class Adaptation:
    """Parameters of the head for one structure, None for the ones it came with.

    steps: taken; before, after: mean loss on slices that were left out of the loop, without and with it.
    """

    parameters: Parameters | None
    steps: int
    before: float
    after: float

    def as_dict(self) -> dict[str, object]:
        """For a report."""
        return {"steps": self.steps, "loss_before": round(self.before, 4), "loss_after": round(self.after, 4)}


def around(plane: int, planes: int) -> slice:
    """The planes that have a say in one of `planes`."""
    return slice(max(0, plane - REACH), min(planes, plane + REACH + 1))


def slice_loss(logits: Tensor, held: HeldOut) -> Tensor:
    """Soft Dice and cross-entropy of logits (B, 1, d, j, i) in the plane of a held-out slice."""
    here = logits[:, :, held.plane]
    share = held.known.sum().clamp(min=1.0)
    entropy = functional.binary_cross_entropy_with_logits(here, held.target, reduction="none")
    inside = torch.sigmoid(here) * held.known
    drawn = held.target * held.known
    dice = (2 * (inside * drawn).sum() + 1) / (inside.sum() + drawn.sum() + 1)
    return 1 - dice + (entropy * held.known).sum() / share


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
    """The head adapted to one structure's held-out slices, two or more of them."""
    if len(held) < 2:
        raise ValueError("adaptation needs two slices at least")
    step_sizes = [one.detach() for one in step_sizes]
    with torch.inference_mode(False), torch.enable_grad():
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
    without: Sequence[tuple[int, Array, np.ndarray]],
    encoded: EncodedImage,
    cancelled: Callable[[], bool],
) -> Adaptation | None:
    """The head adapted to one structure; None with a single slice, or where the image needs several windows
    or memory runs out (noted).

    image: (IMAGE_CHANNELS, k, j, i); without: of every drawn slice its plane, the prompt
    (PROMPT_CHANNELS, k, j, i) of the others, and bool (j, i) where it was drawn. Raises Cancelled.
    """
    if len(without) < 2 or len(encoded.windows) > 1:
        return None
    try:
        held = _held_out(predictor, image, without, encoded, cancelled)
        return adapted(predictor.network.decoder.head, list(predictor.network.step_sizes), held)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        predictor.notes.append("Memory ran out while adapting: the network was used as it came.")
        return None


def _held_out(
    predictor: Predictor,
    image: Array,
    without: Sequence[tuple[int, Array, np.ndarray]],
    encoded: EncodedImage,
    cancelled: Callable[[], bool],
) -> list[HeldOut]:
    held = []
    for plane, prompt, drawn in without:
        if cancelled():
            raise Cancelled("Cancelled: nothing was written.")
        x, read = predictor.trunk(image, prompt, encoded)
        planes = around(plane, image.shape[1])
        target = torch.from_numpy(np.stack([drawn, drawn[:, ::-1]])[:, None].astype(np.float32)).to(x.device)
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
