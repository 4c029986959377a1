"""A picture of ten episodes as training draws them: the image, what is annotated, and what is to be found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..imageio.writing import replace_whole
from ..network.prompt_channels import ASPECT, BACKGROUND, FOREGROUND, IMAGE_CHANNELS
from .episodes import Episode
from .stream import EpisodeStream

NUMBER = 10
"""Episodes in a picture."""
_PER_ROW = 2
_TILES = ("annotated", "to be found", "along the slices", "another patient")
_EACH = len(_TILES)
ANNOTATED, TARGET = "#ffb000", "#e0218a"


def draw_episodes(path: Path, stream: EpisodeStream, number: int = NUMBER) -> None:
    """Write a PNG of `number` episodes, each of another anatomy; the stream's seed says which.

    Of each: an annotated slice with what is annotated; the slice not annotated that holds most of the target,
    outlined; a cut across the slices with both; where the structure is learned from another patient, the
    slice of that image which holds most of it.
    """
    rng = np.random.default_rng((stream.seed, 0, stream.rank))
    shown: list[Episode] = []
    while len(shown) < number:
        one = next(stream.drawn(rng), None)
        shown += [one] if one is not None else []
    rows = -(-number // _PER_ROW)
    figure = Figure(figsize=(2.1 * _EACH * _PER_ROW, 2.25 * rows), layout="constrained")
    tiles = figure.subplots(rows, _EACH * _PER_ROW, squeeze=False)
    for axes in tiles.flat:
        axes.set_axis_off()
    for index, one in enumerate(shown):
        row, column = divmod(index, _PER_ROW)
        _draw(tiles[row, _EACH * column : _EACH * (column + 1)], one, first_row=row == 0)
    replace_whole(path, lambda part: figure.savefig(part, format="png", dpi=100))


def _draw(tiles: np.ndarray, episode: Episode, first_row: bool) -> None:
    image, target = episode.image[0], episode.target[0] > 0.5
    foreground = episode.prompt[FOREGROUND] > 0.5
    annotated = foreground | (episode.prompt[BACKGROUND] > 0.5)
    slices = np.flatnonzero(foreground.any((1, 2)))
    shown = int(slices[foreground[slices].sum((1, 2)).argmax()])
    seen = annotated.any((1, 2)) & (episode.annotated_slices > 0)
    area = np.where(seen, 0, target.sum((1, 2)))
    hidden = int(area.argmax())
    across = int(target.sum((0, 1)).argmax())
    aspect = 4.0 ** float(episode.prompt[ASPECT].flat[0])
    views = (
        (image[shown], foreground[shown], target[shown], f"slice {shown}"),
        (image[hidden], foreground[hidden], target[hidden], f"slice {hidden}"),
        (
            image[:, :, across],
            foreground[:, :, across],
            target[:, :, across],
            f"{episode.annotated_slices} annotated",
        ),
    )
    for tile, (axes, (intensity, inside, mask, caption)) in enumerate(zip(tiles, views, strict=False)):
        stretched = _stretch(aspect, image.shape) if tile == 2 else 1.0
        low, high = np.percentile(intensity, (1, 99))
        axes.imshow(intensity, cmap="gray", vmin=low, vmax=high, aspect=stretched)
        if inside.any():
            axes.imshow(
                np.where(inside, 1.0, np.nan), cmap=_one_color(ANNOTATED), alpha=0.65, aspect=stretched
            )
        if tile > 0:
            _outlined(axes, mask)
        title = f"{_TILES[tile]}\n{caption}" if first_row else caption
        axes.set_title(title, fontsize=8, pad=2)
    if episode.support is not None:
        learned = episode.support[IMAGE_CHANNELS] > 0.5
        plane = int(learned.sum((1, 2)).argmax())
        low, high = np.percentile(episode.support[0, plane], (1, 99))
        tiles[-1].imshow(episode.support[0, plane], cmap="gray", vmin=low, vmax=high)
        _outlined(tiles[-1], learned[plane])
        tiles[-1].set_title(_TILES[-1], fontsize=8, pad=2)


def _outlined(axes: Axes, mask: np.ndarray) -> None:
    if mask.any() and not mask.all():
        axes.contour(mask.astype(float), [0.5], colors=TARGET, linewidths=1.2)


def _stretch(aspect: float, shape: tuple[int, ...]) -> float:
    """Height of a slice in the cut, in columns: as the episode has it, but never a thread or a tower."""
    return float(np.clip(aspect, 0.4 * shape[1] / shape[0], 1.6 * shape[1] / shape[0]))


def _one_color(color: str) -> object:
    from matplotlib.colors import ListedColormap

    return ListedColormap([color])
