"""Synthetic anatomies: packed organs, vessels, bowel, bones that repeat, hollow organs, sheets, lesions.

Nothing here copies a patient; what is imitated is what makes anatomy hard to segment from a few slices:
neighbours of equal intensity, thin and branching shapes, structures that repeat along the body, organs of
mixed appearance, thick slices and fields of view that cut them. After SynthSeg (Billot et al., MedIA 2023),
with contrasts drawn anew for every volume.
"""

from __future__ import annotations

import numpy as np

from .anatomy import Anatomy
from .appearance import drawn_contrast, rendered
from .canvas import Canvas, Rng, random_rotation, smooth_noise


def random_anatomy(rng: Rng, side: int = 88) -> Anatomy:
    """One synthetic anatomy of at most about side^3 voxels; half of them have slices up to 8 voxels thick."""
    aspect = 1.0 if rng.random() < 0.5 else float(np.exp(rng.uniform(0, np.log(8))))
    extent = rng.uniform(0.75, 1.1, 3) * side
    shape = (max(8, int(extent[0] * rng.uniform(1.0, 1.3) / aspect)), int(extent[1]), int(extent[2]))
    canvas = Canvas(rng, shape, aspect)
    _ground(canvas)
    painters = [_organs, _vessels, _bowel, _spine, _ribs, _hollow, _sheet, _bones, _cluster]
    odds = [0.9, 0.6, 0.3, 0.35, 0.25, 0.45, 0.25, 0.35, 0.3]
    chosen = [painter for painter, chance in zip(painters, odds, strict=True) if rng.random() < chance]
    for index in rng.permutation(len(chosen)):
        chosen[index](canvas)
    if rng.random() < 0.45:
        _lesions(canvas)
    scattered = _scattered(canvas) if rng.random() < 0.25 else 0
    contrast = drawn_contrast(rng, canvas.kinds)
    return Anatomy(rendered(rng, canvas.tissues, contrast, aspect), canvas.structures, aspect, scattered)


def _point(canvas: Canvas, margin: float = 0.0) -> np.ndarray:
    return (canvas.rng.uniform(margin, 1 - margin, 3) * canvas.extent).astype(np.float32)


def _ground(canvas: Canvas) -> None:
    """A body or a field of view inside one, divided into regions that share boundaries."""
    rng = canvas.rng
    number = int(rng.integers(2, 10))
    coarse, fine = rng.uniform(15, 60), rng.uniform(6, 14)
    roughness = rng.uniform(0, 0.4)
    fields = [
        smooth_noise(rng, canvas.shape, coarse, canvas.aspect)
        + roughness * smooth_noise(rng, canvas.shape, fine, canvas.aspect)
        for _ in range(number)
    ]
    region = np.argmax(fields, 0)
    body = np.ones(canvas.shape, bool)
    if rng.random() < 0.45:
        radii = (np.array([3.0, rng.uniform(0.38, 0.6), rng.uniform(0.38, 0.6)]) * canvas.extent).astype(
            np.float32
        )
        outline = canvas.superquadric(
            canvas.extent / 2, radii, np.eye(3, dtype=np.float32), rng.choice([2, 2.5, 3])
        )
        if outline is not None:
            body = np.zeros(canvas.shape, bool)
            body[outline.where] = outline.core
            fat = np.zeros(canvas.shape, bool)
            fat[outline.where] = outline.core & (outline.level > rng.uniform(0.75, 0.97))
            region[fat] = number
    for index in range(number + 1):
        mask = (region == index) & body
        canvas.structures[mask] = canvas.new_structure()
        canvas.tissues[mask] = canvas.new_tissue("fat" if index == number or rng.random() < 0.25 else "soft")


def _organs(canvas: Canvas) -> None:
    """Smooth organs of all sizes, some touching one another, some of the same tissue."""
    rng = canvas.rng
    for _ in range(int(rng.integers(2, 12))):
        radii = np.exp(rng.uniform(np.log(3), np.log(30), 1)) * np.exp(rng.uniform(-0.5, 0.5, 3))
        shape = canvas.superquadric(
            _point(canvas),
            radii.astype(np.float32),
            random_rotation(rng),
            float(rng.choice([1.6, 2, 2, 2.5, 3.5])),
        )
        if shape is not None and rng.random() < 0.5:
            lobes = smooth_noise(rng, shape.level.shape, rng.uniform(6, 25), canvas.aspect)
            shape.level[...] += rng.uniform(0.05, 0.3) * lobes
        canvas.paint(shape, "soft")


def _walk(
    canvas: Canvas, start: np.ndarray, direction: np.ndarray, steps: int, stride: float, wander: float
) -> np.ndarray:
    """A path (steps + 1, 3) that bends at random and is sent back at the canvas's edges."""
    points = [start]
    for _ in range(steps):
        direction = direction + wander * canvas.rng.standard_normal(3)
        direction = direction / np.linalg.norm(direction)
        ahead = points[-1] + stride * direction
        outside = (ahead < -4) | (ahead > canvas.extent + 4)
        direction = np.where(outside, -direction, direction)
        points.append(points[-1] + stride * direction)
    return np.array(points, np.float32)


def _vessels(canvas: Canvas) -> None:
    """Trees of tubes; a branch is its own structure or part of the trunk's."""
    rng = canvas.rng
    for _ in range(int(rng.integers(1, 4))):
        radius = float(np.exp(rng.uniform(np.log(1.2), np.log(8))))
        direction = np.array([1.0, 0, 0]) if rng.random() < 0.5 else rng.standard_normal(3)
        start = _point(canvas)
        if rng.random() < 0.5:
            start[0] = 0
        length = int(rng.integers(6, 22))
        trunk = _walk(canvas, start, direction / np.linalg.norm(direction), length, 6, rng.uniform(0.05, 0.4))
        taper = np.linspace(1, rng.uniform(0.5, 1), len(trunk)) * radius
        structure = canvas.paint(canvas.tube(trunk, taper), "vessel")
        for _ in range(int(rng.integers(0, 4))):
            at = int(rng.integers(1, len(trunk)))
            branch = _walk(canvas, trunk[at], rng.standard_normal(3), int(rng.integers(3, 9)), 5, 0.3)
            thin = np.linspace(0.8, 0.4, len(branch)) * taper[at]
            canvas.paint(
                canvas.tube(branch, np.maximum(thin, 0.9)),
                "vessel",
                structure if rng.random() < 0.6 else None,
            )


def _bowel(canvas: Canvas) -> None:
    """One or two long folded tubes with content of several kinds."""
    rng = canvas.rng
    for _ in range(int(rng.integers(1, 3))):
        radius = float(rng.uniform(3, 9))
        path = _walk(
            canvas, _point(canvas, 0.2), rng.standard_normal(3), int(rng.integers(12, 40)), radius * 1.2, 0.55
        )
        radii = radius * np.exp(
            0.25 * rng.standard_normal(len(path)).cumsum() / np.sqrt(np.arange(1, len(path) + 1))
        )
        structure = canvas.paint(canvas.tube(path, radii), "soft")
        if rng.random() < 0.7:
            for kind in ("soft", "gas", "vessel"):
                first = int(rng.integers(0, len(path) - 3))
                part = slice(first, first + int(rng.integers(3, 12)))
                if rng.random() < 0.6 and len(path[part]) > 1:
                    canvas.paint(
                        canvas.tube(path[part], radii[part] * rng.uniform(0.5, 0.85)), kind, structure
                    )


def _spine(canvas: Canvas) -> None:
    """Vertebrae that repeat along the slices' axis, discs between them, processes behind.

    Each is its own structure, or all of them are one.
    """
    rng = canvas.rng
    pitch = float(rng.uniform(9, 24))
    size = pitch * rng.uniform(0.55, 0.9)
    axis = _walk(
        canvas, np.array([-pitch, *_point(canvas, 0.25)[1:]]), np.array([1.0, 0, 0]), 20, pitch, 0.06
    )
    tilt = np.eye(3, dtype=np.float32)
    behind = np.array([0, rng.choice([-1, 1]), 0]) if rng.random() < 0.8 else np.array([0, 0, 1])
    joined = rng.random() < 0.25
    all_bones, all_discs = canvas.new_structure(), canvas.new_structure()
    processes = rng.random() < 0.8
    for centre in axis[axis[:, 0] < canvas.extent[0] + pitch]:
        bone = all_bones if joined else canvas.new_structure()
        disc = canvas.superquadric(
            centre + [pitch / 2, 0, 0], np.array([pitch * 0.2, size, size], np.float32), tilt, 3
        )
        canvas.paint(disc, "soft", all_discs if rng.random() < 0.8 else None)
        if processes:
            lamina = [
                centre + behind * size,
                centre + behind * size * 1.6 + [pitch * 0.15, 0, 0],
                centre + behind * size * 2.5 + [pitch * 0.4, 0, 0],
            ]
            canvas.paint(
                canvas.tube(np.array(lamina, np.float32), np.array([0.25, 0.28, 0.2]) * size), "bone", bone
            )
            across = np.cross(behind, [1, 0, 0]) * size * 1.7
            sides = [
                centre + behind * size * 1.2 - across,
                centre + behind * size * 1.1,
                centre + behind * size * 1.2 + across,
            ]
            canvas.paint(
                canvas.tube(np.array(sides, np.float32), np.array([0.15, 0.3, 0.15]) * size), "bone", bone
            )
        canvas.paint(
            canvas.superquadric(
                centre, np.array([pitch * 0.38, size, size * rng.uniform(0.95, 1.3)], np.float32), tilt, 3
            ),
            "bone",
            bone,
        )
    if processes:
        canal = axis + behind * size * 1.25
        canvas.paint(canvas.tube(canal.astype(np.float32), np.full(len(canal), size * 0.28)), "soft")


def _ribs(canvas: Canvas) -> None:
    """Thin arcs that repeat along the body, each its own structure."""
    rng = canvas.rng
    pitch, radius = float(rng.uniform(7, 16)), float(rng.uniform(1.3, 3.2))
    centre = canvas.extent / 2 + rng.uniform(-10, 10, 3)
    radii = canvas.extent[1:] * rng.uniform(0.3, 0.5, 2)
    slope = rng.uniform(0, 12)
    span = np.linspace(rng.uniform(0, 2), rng.uniform(2.5, 5), 14)
    for base in np.arange(-slope, canvas.extent[0], pitch):
        k, j = base + slope * np.sin(span / 2), centre[1] + radii[0] * np.cos(span)
        arc = np.stack([k, j, centre[2] + radii[1] * np.sin(span)], 1)
        canvas.paint(canvas.tube(arc.astype(np.float32), np.full(len(arc), radius)), "bone")


def _hollow(canvas: Canvas) -> None:
    """Wall and cavity: two structures (a ventricle and its muscle) or one (a stomach, a bladder)."""
    rng = canvas.rng
    for _ in range(int(rng.integers(1, 4))):
        radii = (np.exp(rng.uniform(np.log(5), np.log(24))) * np.exp(rng.uniform(-0.35, 0.35, 3))).astype(
            np.float32
        )
        shape = canvas.superquadric(_point(canvas, 0.1), radii, random_rotation(rng), 2)
        structure = canvas.paint(shape, "soft")
        if shape is not None:
            shape.level[...] /= rng.uniform(0.55, 0.9)
            canvas.paint(
                shape, str(rng.choice(["vessel", "soft", "gas"])), structure if rng.random() < 0.4 else None
            )


def _sheet(canvas: Canvas) -> None:
    """A thin curved layer through the volume: a muscle of the wall, a cortex."""
    rng = canvas.rng
    field = smooth_noise(rng, canvas.shape, rng.uniform(30, 70), canvas.aspect)
    level = rng.uniform(-0.6, 0.6)
    gradient = zip(np.gradient(field), (canvas.aspect, 1, 1), strict=True)
    slope = np.sqrt(sum((change / step) ** 2 for change, step in gradient)) + 1e-3
    mask = np.abs(field - level) / slope < rng.uniform(1.2, 5)
    canvas.structures[mask] = canvas.new_structure()
    canvas.tissues[mask] = canvas.new_tissue("soft")


def _bones(canvas: Canvas) -> None:
    """Flat and long bones: bright shells with a darker inside, heads and shafts."""
    rng = canvas.rng
    for _ in range(int(rng.integers(1, 4))):
        start = _point(canvas)
        structure = canvas.new_structure()
        if rng.random() < 0.5:
            path = _walk(canvas, start, rng.standard_normal(3), int(rng.integers(3, 8)), 9, 0.12)
            radii = rng.uniform(3, 8) * (1 + 0.7 * np.abs(np.linspace(-1, 1, len(path))) ** 3)
            canvas.paint(canvas.tube(path, radii), "bone", structure)
        else:
            for _ in range(int(rng.integers(2, 5))):
                radii = np.array([rng.uniform(8, 22), rng.uniform(6, 16), rng.uniform(1.8, 5)], np.float32)
                canvas.paint(canvas.superquadric(start, radii, random_rotation(rng), 2), "bone", structure)
                start = start + rng.uniform(-9, 9, 3).astype(np.float32)


def _cluster(canvas: Canvas) -> None:
    """Muscles: many long bodies side by side along the slices' axis, nearly of one intensity."""
    rng = canvas.rng
    centre = _point(canvas, 0.2)
    tissue = str(rng.choice(["soft", "muscle"]))
    for _ in range(int(rng.integers(3, 9))):
        offset = rng.uniform(-22, 22, 3) * [0.8, 1, 1]
        radii = np.array([rng.uniform(14, 50), rng.uniform(4, 13), rng.uniform(4, 13)], np.float32)
        rotation = np.linalg.qr(np.eye(3) + 0.25 * rng.standard_normal((3, 3)))[0].astype(np.float32)
        canvas.paint(canvas.superquadric((centre + offset).astype(np.float32), radii, rotation, 2), tissue)


def _lesions(canvas: Canvas) -> None:
    """One lesion, or many small ones that are one structure, anywhere or inside one organ."""
    rng = canvas.rng
    many = rng.random() < 0.5
    structure = canvas.new_structure()
    kind = str(rng.choice(["lesion", "soft"]))
    host = None
    if rng.random() < 0.5:
        host = canvas.structures == canvas.structures[tuple(rng.integers(0, canvas.shape))]
    for _ in range(int(rng.integers(4, 30)) if many else 1):
        smallest, largest = (1.3, 5.0) if many else (3.0, 18.0)
        size = np.exp(rng.uniform(np.log(smallest), np.log(largest)))
        radii = (size * np.exp(rng.uniform(-0.4, 0.4, 3))).astype(np.float32)
        shape = canvas.superquadric(_point(canvas), radii, random_rotation(rng), 2)
        if shape is not None:
            shape.level[...] += rng.uniform(0, 0.35) * smooth_noise(
                rng, shape.level.shape, max(4.0, size), canvas.aspect
            )
        canvas.paint(shape, kind, structure, host)


def _scattered(canvas: Canvas) -> int:
    """Many small lesions, most in clusters inside one host, among unmarked spots of similar intensity.

    Returns the label of the structure that they are, 0 where there is no place for them.
    """
    rng = canvas.rng
    structure = canvas.new_structure()
    at = tuple(rng.integers(0, canvas.shape))
    host = canvas.structures == canvas.structures[at]
    if host.mean() < 0.05:
        host = canvas.structures > 0
    places = np.argwhere(host)
    if not len(places):
        return 0
    tissue = canvas.new_tissue("lesion")
    look_alike = canvas.new_tissue("lesion") if rng.random() < 0.5 else tissue
    centres = places[rng.integers(0, len(places), int(rng.integers(2, 7)))]
    spread = rng.uniform(4, 20)
    for _ in range(int(rng.integers(8, 60))):
        centre = _point(canvas)
        if rng.random() < 0.8:
            middle = centres[rng.integers(len(centres))] * [canvas.aspect, 1, 1]
            centre = (middle + spread * rng.standard_normal(3)).astype(np.float32)
        size = np.exp(rng.uniform(np.log(0.9), np.log(5.0)))
        radii = (size * np.exp(rng.uniform(-0.5, 0.5, 3))).astype(np.float32)
        shape = canvas.superquadric(centre, radii, random_rotation(rng), 2)
        if shape is None:
            continue
        mask = shape.core & (host[shape.where] | (rng.random() < 0.1))
        canvas.structures[shape.where][mask] = structure
        canvas.tissues[shape.where][mask] = tissue
    for _ in range(int(rng.integers(0, 12))):
        radii = np.exp(rng.uniform(np.log(1.0), np.log(6.0), 3)).astype(np.float32)
        shape = canvas.superquadric(_point(canvas), radii, random_rotation(rng), 2)
        if shape is not None:
            mask = shape.core & ~host[shape.where] & (canvas.structures[shape.where] != structure)
            canvas.tissues[shape.where][mask] = look_alike
    return structure
