"""An abdomen in portal venous phase, drawn organ by organ from back to front, in Hounsfield units."""

from __future__ import annotations

import numpy as np

from ..support.support import Structure
from .shapes import Array, Canvas, Field, Point, Shape, carved, ellipsoid, grown, tube, union

STRUCTURES = (
    Structure("liver", 1, (0.87, 0.51, 0.40)),
    Structure("spleen", 2, (0.62, 0.40, 0.75)),
    Structure("right kidney", 3, (0.85, 0.65, 0.25)),
    Structure("left kidney", 4, (0.95, 0.80, 0.20)),
    Structure("liver lesion", 5, (0.30, 0.75, 0.45)),
    Structure("stomach", 6, (0.85, 0.55, 0.60)),
    Structure("aorta", 7, (0.88, 0.25, 0.22)),
    Structure("inferior vena cava", 8, (0.25, 0.45, 0.85)),
    Structure("vertebrae", 9, (0.92, 0.88, 0.72)),
    Structure("gallbladder", 10, (0.45, 0.62, 0.30)),
    Structure("pancreas", 11, (0.90, 0.72, 0.50)),
    Structure("ribs", 12, (0.88, 0.84, 0.62)),
)
LABEL = {structure.name: structure.label for structure in STRUCTURES}

_SPINE_Y = -52.0
_LEVEL_MM = 35.0  # from one vertebra to the next
_WALL_MM = 12.0
_ENDLESS = 400.0


def draw_abdomen(canvas: Canvas, rng: np.random.Generator) -> None:
    """A patient on the table, a little different for every state of `rng`."""
    size = float(rng.uniform(0.97, 1.03))
    _draw_body(canvas)
    _draw_spine(canvas)
    _draw_bowel(canvas, rng)
    _draw_organs(canvas, rng, size)


# --- the body and its wall ----------------------------------------------------------------------------------


def _skin(x: Array, y: Array, z: Array) -> Array:
    """Distance from the skin along the radius, negative inside; a groove runs down the back."""
    width = 156 + 4 * np.cos(z / 60)
    depth = np.where(y > 0, 98 + 3 * np.cos((z + 40) / 50), 110 - 5 * np.exp(-((x / 16) ** 2)))
    across, along = np.abs(x) / width, np.abs(y) / depth
    scaled = (across * across * np.sqrt(across) + along * along * np.sqrt(along)) ** 0.4
    return np.hypot(x, y) * (1 - 1 / np.maximum(scaled, 1e-3))


def _subcutaneous_mm(x: Array, y: Array) -> Array:
    """Thickness of the fat under the skin: more on the flanks' back and the belly, little over the spine."""
    radius = np.maximum(np.hypot(x, y), 1)
    return 13 + 5 * (y / radius) ** 2 + 4 * np.exp(-(((np.abs(x) - 70) / 30) ** 2)) * (y < 0)


def _wall(x: Array, y: Array, z: Array) -> Array:
    """Distance from the outer surface of the muscles, negative inside."""
    return _skin(x, y, z) + _subcutaneous_mm(x, y)


def _cavity(x: Array, y: Array, z: Array) -> Array:
    """Distance from the inner surface of the abdominal wall, negative inside."""
    return _wall(x, y, z) + _WALL_MM


def _diaphragm(x: Array, y: Array, z: Array) -> Array:
    """Height above the two domes of the diaphragm: positive in the lungs."""
    right = 84 - ((x - 70) / 78) ** 2 * 70 - ((y - 4) / 82) ** 2 * 62
    left = 76 - ((x + 72) / 74) ** 2 * 70 - ((y - 2) / 80) ** 2 * 62
    middle = 66 - (x / 60) ** 2 * 20 - (np.minimum(y - 10, 0) / 50) ** 2 * 40
    return z - np.maximum(np.maximum(right, left), middle)


def _everywhere(distance: Field) -> Shape:
    return Shape(distance, (-_ENDLESS, -_ENDLESS, -_ENDLESS), (_ENDLESS, _ENDLESS, _ENDLESS))


def _draw_body(canvas: Canvas) -> None:
    table = Shape(
        lambda x, y, z: np.abs(y + 128 - (x / 34) ** 2 * 0.8) - 7,
        (-_ENDLESS, -140, -_ENDLESS),
        (_ENDLESS, 0, _ENDLESS),
    )
    canvas.fill(table, -300)  # carbon fibre shell
    canvas.fill(grown(table, -3), -960)
    canvas.fill(_everywhere(_skin), _torso_tissue)
    mediastinum = carved(
        tube([(-4, -26, 60), (-4, -26, 130)], [26, 26]),
        within=lambda x, y, z: np.maximum(_cavity(x, y, z), -y - 60),
    )
    heart_fat = carved(ellipsoid((-16, 44, 108), (68, 48, 42)), within=_cavity)
    canvas.fill(union(mediastinum, heart_fat, blend_mm=20), -95)
    canvas.fill(carved(ellipsoid((-18, 42, 108), (60, 40, 34)), within=_cavity), 105)
    canvas.fill(tube([(2, 0, 130), (-12, 6, 80), (-34, 4, 62)], [8, 8, 8], flatten=0.75), 65)  # oesophagus
    for side in (-1.0, 1.0):
        _draw_muscles(canvas, side)
        for rib in range(5):
            canvas.fill(_rib(side, 150 - 30 * rib, 2.75 - 0.32 * rib), 430, LABEL["ribs"])


def _torso_tissue(x: Array, y: Array, z: Array) -> Array:
    """Skin, the fat under it, the wall, and within the wall the lungs above the diaphragm and fat below."""
    depth = -_skin(x, y, z)
    in_wall = depth - _subcutaneous_mm(x, y)
    tissue = _mixed(25, -105, depth - 2.2)
    tissue = _mixed(tissue, _wall_tissue(x, y, z, in_wall), in_wall)
    in_cavity = in_wall - _WALL_MM
    tissue = _mixed(tissue, -100, in_cavity)
    return _mixed(tissue, _lung_tissue(x, y, z), np.minimum(in_cavity - 1, _diaphragm(x, y, z) - 2))


def _mixed(outer: Array | float, inner: Array | float, depth: Array) -> Array:
    """`outer` where `depth` (mm) is negative, `inner` where it is positive, a soft edge between."""
    return outer + np.clip(0.5 + depth / 2, 0, 1) * (inner - outer)


def _wall_tissue(x: Array, y: Array, z: Array, depth: Array) -> Array:
    """Three flat muscles with fat between them on the flanks; linea alba in front."""
    flank = np.clip((np.abs(x) - 62) / 15, 0, 1) * (z < 45)
    layers = np.exp(-(((depth - 4) / 0.9) ** 2)) + np.exp(-(((depth - 8) / 0.9) ** 2))
    alba = np.exp(-((x / 4) ** 2)) * (y > 0)
    return 58 - 110 * layers * flank - 60 * alba


def _lung_tissue(x: Array, y: Array, z: Array) -> Array:
    vessels = np.sin(x / 3.1 + 2 * np.sin(y / 9)) * np.sin(y / 3.7 + 2 * np.sin(z / 8)) * np.sin(z / 4.3)
    return -860 + 20 * np.cos(y / 40) + 500 * (vessels > 0.72)


def _draw_muscles(canvas: Canvas, side: float) -> None:
    erector = tube([(side * 30, -88, -120), (side * 29, -87, 120)], [25, 20], flatten=0.72)
    canvas.fill(carved(erector, within=lambda x, y, z: _wall(x, y, z)), 60)
    canvas.fill(tube([(side * 54, -84, -120), (side * 50, -84, 60)], [13, 7], flatten=0.7), 55)
    psoas = tube([(side * 27, -52, 40), (side * 36, -50, -30), (side * 45, -42, -120)], [6, 15, 22])
    canvas.fill(psoas, 62)
    quadratus = tube([(side * 62, -70, 10), (side * 66, -68, -120)], [9, 15], flatten=0.55)
    canvas.fill(quadratus, 58)
    crus = tube([(side * 12, -30, -20), (side * 16, -36, 90)], [5, 7], flatten=0.7)
    canvas.fill(crus, 60)


def _rib(side: float, top_mm: float, reach_rad: float) -> Shape:
    """One rib in the wall: from the spine round to the front, falling as it goes."""

    def distance(x: Array, y: Array, z: Array) -> Array:
        angle = np.arctan2(np.abs(x), -(y + 15))  # 0 at the back, pi in front
        height = top_mm - 62 * np.minimum(angle, 2.2)
        inside_wall = _wall(x, y, z) + 7.5
        oval = np.hypot(inside_wall / 3.6, (z - height) / 7.0)
        ends = np.maximum(angle - reach_rad, 0.36 - angle) * 80
        return np.maximum(np.maximum((oval - 1) * 3.6, ends), -side * x)

    front = -(15 + 100 * float(np.cos(reach_rad)))
    return Shape(
        distance,
        (min(0, side * 160), -115, top_mm - 62 * min(reach_rad, 2.2) - 8),
        (max(0, side * 160), max(front, 0), top_mm - 14),
    )


# --- the spine ----------------------------------------------------------------------------------------------


def _draw_spine(canvas: Canvas) -> None:
    canvas.fill(tube([(0, _SPINE_Y, -130), (0, _SPINE_Y, 130)], [20, 20], flatten=0.8), 88)  # discs
    for level in range(-3, 4):
        z = level * _LEVEL_MM - 4
        canvas.fill(_vertebra(z), _vertebral_tissue(z), LABEL["vertebrae"])
    canal = tube([(0, -80, -130), (0, -80, 130)], [10, 10], flatten=0.85)
    canvas.fill(canal, -40, 0)
    canvas.fill(grown(canal, -2.5), 28)


def _body(z: float) -> Shape:
    """A vertebral body: waisted, its back a little hollow."""

    def distance(x: Array, y: Array, h: Array) -> Array:
        waist = 22.5 + 2.5 * ((h - z) / 13) ** 2
        ring = (np.hypot(x / waist, (y - _SPINE_Y) / (0.76 * waist)) - 1) * 18
        hollow = 10.5 - np.hypot(x, y + 80)
        return np.maximum(np.maximum(ring, np.abs(h - z) - 13), hollow)

    return Shape(distance, (-26, -75, z - 13), (26, -30, z + 13))


def _vertebra(z: float) -> Shape:
    arch = []
    for side in (-1.0, 1.0):
        arch += [
            tube([(side * 13, -66, z + 4), (side * 14, -82, z + 2)], [5.5, 5]),
            tube([(side * 14, -82, z + 2), (0, -94, z - 6)], [4.5, 4.5]),
            tube([(side * 14, -80, z + 1), (side * 40, -84, z + 1)], [5, 3.5]),
            tube([(side * 15, -84, z + 12), (side * 15, -84, z - 16)], [5, 5]),
        ]
    spinous = carved(
        ellipsoid((0, -102, z - 9), (4, 15, 10), (12, 0, 0)), within=lambda x, y, h: _skin(x, y, h) + 6
    )
    return union(_body(z), spinous, *arch, blend_mm=3)


def _vertebral_tissue(z: float) -> Field:
    whole = _vertebra(z)

    def tissue(x: Array, y: Array, h: Array) -> Array:
        depth = -whole.distance(x, y, h)
        trabeculae = 25 * np.sin(x * 1.3) * np.sin(y * 1.1) * np.sin(h * 0.9)
        return np.where(depth < 2.2, 520, 190 + trabeculae)

    return tissue


# --- stomach and bowel --------------------------------------------------------------------------------------


def _draw_bowel(canvas: Canvas, rng: np.random.Generator) -> None:
    def mottled(x: Array, y: Array, z: Array) -> Array:
        pattern = np.sin(x / 2.3 + z / 5) * np.sin(y / 2.1 + x / 7) * np.sin(z / 3.1)
        return np.where(pattern > 0.45, -350, 45 + 60 * pattern)

    def loop(path: list[Point], radius: float, content: float | Field, gas_y: float) -> None:
        canvas.fill(carved(tube(path, [radius] * len(path)), within=_inside), 75)
        canvas.fill(carved(tube(path, [radius - 3] * len(path)), within=_inside), content)
        gas = carved(tube(path, [radius - 3.5] * len(path)), within=lambda x, y, z: gas_y - y)
        canvas.fill(gas, -900)

    for tier, height in enumerate((-122, -103, -84, -66)):  # small bowel, winding from side to side
        phase, turns = rng.uniform(0, 2 * np.pi, 2), np.linspace(0, 1, 22)
        across = np.linspace(-82 + 6 * tier, 76 - 10 * tier, 22) + 7 * np.sin(19 * turns + phase[1])
        forward = 34 + 27 * np.sin(15 * turns + phase[0])
        upward = height + 9 * np.sin(11 * turns + phase[1])
        path = [(float(x), float(y), float(z)) for x, y, z in zip(across, forward, upward, strict=True)]
        loop(path, float(rng.uniform(10, 12)), 30.0, float(rng.uniform(52, 64)))
    loop([(104, -12, -125), (107, -6, -60), (98, 16, -32)], 22, mottled, 16)
    loop([(-113, -22, -125), (-114, -24, -30), (-104, -6, 8)], 14, mottled, 2)
    loop([(96, 40, -34), (45, 66, -50), (-5, 68, -54), (-55, 62, -36), (-98, 22, 6)], 16, 35.0, 62)

    stomach = carved(
        tube([(-70, -4, 58), (-68, 30, 34), (-40, 52, 8), (-2, 50, -2), (26, 34, 0)], [33, 31, 24, 17, 11]),
        within=lambda x, y, z: np.maximum(_inside(x, y, z), _diaphragm(x, y, z) + 5),
    )
    canvas.fill(stomach, 82, LABEL["stomach"])
    canvas.fill(grown(stomach, -4.0), lambda x, y, z: 28 + 14 * np.sin(x / 4) * np.sin(y / 5) * np.sin(z / 5))
    canvas.fill(carved(grown(stomach, -4.5), within=lambda x, y, z: 40 - y), -920)
    duodenum = tube(
        [(28, 32, 0), (44, 20, -8), (44, 12, -42), (18, 4, -54), (-18, 4, -50)], [12, 12, 12, 11, 10]
    )
    canvas.fill(duodenum, 78)
    canvas.fill(grown(duodenum, -3.5), 28)


def _inside(x: Array, y: Array, z: Array) -> Array:
    """Inside the cavity with the thin layer of fat that lines it."""
    return _cavity(x, y, z) + 2.5


# --- solid organs and vessels -------------------------------------------------------------------------------


def _draw_organs(canvas: Canvas, rng: np.random.Generator, size: float) -> None:
    kidneys = {
        "right kidney": _kidney(1.0, (64, -46, -26), size),
        "left kidney": _kidney(-1.0, (-64, -46, -8), size),
    }
    canvas.fill(
        tube(
            [(28, 14, -24), (24, 12, 0), (2, 16, 8), (-24, 6, 16), (-56, -6, 26), (-80, -14, 30)],
            [11, 12, 9, 9, 8.5, 6],
        ),
        lambda x, y, z: 92 - 45 * (np.sin(x / 2.6) * np.sin(y / 2.4) * np.sin(z / 2.8) > 0.3),
        LABEL["pancreas"],
    )
    _draw_liver(canvas, rng, size, list(kidneys.values()))
    spleen = carved(
        ellipsoid((-104, -34, 38), (44 * size, 62, 56), (-18, 0, 14)),
        ellipsoid((-64, -6, 34), (36, 44, 80)),
        kidneys["left kidney"],
        within=_under_diaphragm,
        gap_mm=4,
    )
    canvas.fill(spleen, 118, LABEL["spleen"])
    _draw_vessels(canvas)
    for name, kidney in kidneys.items():
        side = 1.0 if name == "right kidney" else -1.0
        canvas.fill(kidney, _kidney_tissue(kidney), LABEL[name])
    for side, hilum in ((1.0, (46.0, -42.0, -26.0)), (-1.0, (-46.0, -42.0, -8.0))):
        x, y, z = hilum
        canvas.fill(ellipsoid((x + side * 4, y, z), (13, 9, 22)), -70, 0)
        canvas.fill(tube([(x + side * 10, y, z + 8), (x, y, z), (x - side * 4, y, z - 20)], [4, 5, 3]), 12, 0)
        canvas.fill(tube([(x + side * 8, y + 2, z + 3), (side * 14 - 2, -24, z + 10)], [4, 5]), 150)


def _under_diaphragm(x: Array, y: Array, z: Array) -> Array:
    return np.maximum(_cavity(x, y, z) + 1.5, _diaphragm(x, y, z) + 3)


def _kidney(side: float, centre: Point, size: float) -> Shape:
    return ellipsoid(centre, (27 * size, 25 * size, 54 * size), (-8, side * 12, side * -30))


def _kidney_tissue(kidney: Shape) -> Field:
    """Bright cortex with columns between darker pyramids."""
    middle = [(a + b) / 2 for a, b in zip(kidney.low, kidney.high, strict=True)]

    def tissue(x: Array, y: Array, z: Array) -> Array:
        depth = -kidney.distance(x, y, z)
        around = np.arctan2(y - middle[1], x - middle[0])
        pyramids = (np.sin(around * 4) * np.cos((z - middle[2]) / 3.6) > -0.35) & (depth > 6.5)
        return np.where(pyramids, 128, 182)

    return tissue


def _draw_liver(canvas: Canvas, rng: np.random.Generator, size: float, kidneys: list[Shape]) -> None:
    lobes = union(
        ellipsoid((80, 0, 28), (64 * size, 84, 84 * size), (0, -8, 0)),
        ellipsoid((18, 42, 50), (78 * size, 38, 36), (0, 14, -6)),
        blend_mm=25,
    )
    underside = ellipsoid((16, -4, -34), (56, 50, 66), (0, -22, 0))
    liver = carved(
        lobes,
        underside,
        ellipsoid((68, -78, -22), (34, 50, 62)),  # the right kidney's fat, open to the back
        *(grown(kidney, 5) for kidney in kidneys),
        tube([(21, -18, -120), (24, -16, 120)], [11, 12]),
        within=_under_diaphragm,
        gap_mm=1,
    )
    canvas.fill(liver, 106, LABEL["liver"])
    branches: list[tuple[list[Point], list[float], float]] = [
        ([(20, 4, 0), (36, 6, 22), (62, 4, 30), (100, -12, 22)], [7, 7, 5, 2], 156),
        ([(62, 4, 30), (86, 34, 36), (104, 48, 34)], [4.5, 3, 1.5], 152),
        ([(36, 6, 22), (14, 34, 40), (-14, 50, 52)], [5, 4, 2], 152),
        ([(24, -14, 74), (56, -14, 66), (104, -24, 50)], [6, 5, 2], 148),
        ([(24, -14, 74), (50, 22, 66), (72, 46, 52)], [6, 4.5, 2], 148),
        ([(24, -14, 74), (12, 20, 70), (-8, 44, 66)], [6, 4, 2], 148),
    ]
    for path, radii, value in branches:
        canvas.fill(carved(tube(path, radii), within=grown(liver, 1).distance), value)
    gallbladder = tube([(48, 40, -26), (50, 34, -4), (46, 26, 8)], [13, 11, 5])
    canvas.fill(grown(gallbladder, 2), 80, LABEL["gallbladder"])
    canvas.fill(gallbladder, 8)
    x, y, z = 96 + float(rng.uniform(-4, 4)), 22 + float(rng.uniform(-4, 4)), 40 + float(rng.uniform(-4, 4))
    lesion = union(
        ellipsoid((x, y, z), (19, 17, 18)), ellipsoid((x - 10, y + 8, z + 6), (12, 11, 11)), blend_mm=8
    )
    canvas.fill(lesion, _lesion_tissue(lesion), LABEL["liver lesion"])


def _lesion_tissue(lesion: Shape) -> Field:
    """Washed out, darkest in its middle."""
    return lambda x, y, z: 66 + 2.2 * np.maximum(lesion.distance(x, y, z), -14)


def _draw_vessels(canvas: Canvas) -> None:
    aorta = tube([(-12, -20, -130), (-10, -20, -30), (-8, -24, 40), (-10, -28, 130)], [9, 10, 11.5, 12.5])
    canvas.fill(grown(aorta, 1), 70, LABEL["aorta"])
    canvas.fill(aorta, 168)
    canvas.fill(ellipsoid((-20, -20, -44), (2, 4, 9)), 520)  # calcified plaque
    cava = tube(
        [(18, -22, -130), (20, -20, -20), (24, -16, 60), (24, -10, 130)], [12, 13, 13, 14], flatten=0.75
    )
    canvas.fill(cava, 142, LABEL["inferior vena cava"])
    canvas.fill(tube([(-10, -12, 26), (-8, 4, 26)], [4, 4]), 165)  # coeliac trunk
    canvas.fill(
        tube([(-10, -12, 12), (-8, 4, 6), (-6, 14, -60)], [4.5, 4, 3]), 165
    )  # superior mesenteric artery
    canvas.fill(tube([(6, 14, -70), (6, 12, -20), (20, 4, 0)], [5, 6, 7]), 155)  # mesenteric and portal vein
    canvas.fill(tube([(6, 8, 2), (-40, -12, 20), (-86, -22, 32)], [5, 4.5, 4]), 152)  # splenic vein
