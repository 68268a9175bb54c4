"""The organs of the phantom, in mm: x to the patient's left, y to the back, z to the head; (0, 0, 0) is mid-body."""

from __future__ import annotations

import numpy

from .painter import Array, Block, Painter, Point, smooth_field, smooth_union

_EVERYTHING: Block = (slice(None), slice(None), slice(None))
_HALF_WIDTH, _HALF_DEPTH = 163.0, 112.0
_VERTEBRA_PITCH = 33.0
_RIB_PITCH = 27.0


def _texture(painter: Painter, rng: numpy.random.Generator, block: Block, scale_mm: float) -> Array:
    z, y, x = (axis[part] for axis, part in zip(painter.axes, block, strict=True))
    return smooth_field(rng, (z, y, x), scale_mm)


def _body(painter: Painter) -> Array:
    """Signed distance in mm, about, to the skin."""
    flat = numpy.where(painter.y > 0, numpy.float32(1.06), numpy.float32(1.0))
    waist = 1 - 0.05 * numpy.cos(painter.z / 60)
    ratio = (numpy.abs(painter.x) / (_HALF_WIDTH * waist)) ** 2.5 + (
        numpy.abs(painter.y) * flat / _HALF_DEPTH
    ) ** 2.5
    distance: Array = ((ratio ** (1 / 2.5)) - 1) * 118
    groove = 7 * numpy.exp(-((painter.x / 16) ** 2)) * (painter.y > 60)
    return distance + groove.astype(numpy.float32)


def _cavity(painter: Painter) -> Array:
    """Signed distance in mm to the inside of the muscles: skin, fat and wall taken off, the spine left out."""
    distance = _body(painter) + 33
    spine = painter.ellipsoid(_EVERYTHING, (0, 62, 0), (50, 36, 1e4))
    cavity: Array = numpy.maximum(distance, -spine)
    return cavity


def _lungs(painter: Painter) -> Array:
    """Signed distance in mm to the lung bases: above the diaphragm, whose domes hang down to the back."""
    right = 92 - 0.0075 * ((painter.x + 70) ** 2 + 0.8 * (painter.y + 20) ** 2)
    left = 84 - 0.0085 * ((painter.x - 70) ** 2 + 0.8 * (painter.y + 20) ** 2)
    dome = numpy.maximum(right, left)
    lungs: Array = numpy.maximum((dome - painter.z) * 0.6, _cavity(painter) + 2)
    middle = 34 - numpy.abs(painter.x) - 0.25 * numpy.abs(painter.y - 10)
    return numpy.maximum(lungs, middle)


def draw_trunk(painter: Painter, rng: numpy.random.Generator) -> None:
    """Skin, fat, the layered muscle wall, back muscles, and the fat between the organs."""
    body = _body(painter)
    grain = _texture(painter, rng, _EVERYTHING, 9.0)
    painter.paint(_EVERYTHING, body, 25.0)
    painter.paint(_EVERYTHING, body + 2.4, -104 + 5 * grain)
    fat = 16 + 6 * numpy.abs(painter.x / _HALF_WIDTH) ** 2
    wall = body + fat
    painter.paint(_EVERYTHING, wall, 54 + 5 * grain)
    for depth in (5.5, 10.0):
        seam = numpy.abs(wall + depth) - 0.5
        painter.paint(_EVERYTHING, numpy.maximum(seam, 60 - numpy.abs(painter.x)), -20.0)
    white_line = numpy.maximum(numpy.abs(painter.x) - 3.0, painter.y + 60)
    painter.paint(_EVERYTHING, numpy.maximum(white_line, wall), 15.0)
    painter.paint(_EVERYTHING, _cavity(painter), -98 + 7 * grain)
    for side in (-1, 1):
        _back_muscles(painter, rng, side)


def _back_muscles(painter: Painter, rng: numpy.random.Generator, side: int) -> None:
    block = painter.block((side * 38, 74, 0), (40, 40, 300))
    muscle = painter.ellipsoid(block, (side * 37, 76, 0), (29, 19, 1e4), side * 0.25)
    fibers = _texture(painter, rng, block, 6.0)
    painter.paint(block, muscle, 56 + 9 * fibers - 70 * (fibers > 1.5))
    square = painter.ellipsoid(block, (side * 64, 62, -40), (17, 9, 75), side * 0.5)
    painter.paint(block, square, 57 + 6 * fibers)
    path: list[Point] = [
        (side * 24, 42, 35),
        (side * 31, 40, -10),
        (side * 42, 34, -60),
        (side * 48, 26, -110),
    ]
    block, psoas = painter.tube(path, [6, 13, 18, 20])
    painter.paint(block, psoas, 58 + 6 * _texture(painter, rng, block, 7.0))


def draw_skeleton(painter: Painter, rng: numpy.random.Generator) -> None:
    """Vertebrae with discs, canal, arches and processes, and the lower ribs."""
    block = painter.block((0, 58, 0), (48, 52, 300))
    x, y = painter.x[block], painter.y[block]
    level = painter.z[block] / _VERTEBRA_PITCH + float(rng.uniform(0, 1))
    phase = (
        numpy.abs(level - numpy.round(level)) * _VERTEBRA_PITCH
    )  # mm from the middle of the nearest vertebra
    endplate = phase - 12.5
    waist = 1.6 * numpy.cos(numpy.clip(phase / 12.5, 0, 1) * numpy.pi / 2)
    body = painter.ellipsoid(block, (0, 38, 0), (23, 17, 1e5)) + waist
    notch = painter.ellipsoid(block, (0, 60, 0), (13, 9, 1e5))
    body = numpy.maximum(body, -notch)
    painter.paint(block, body - 1.0, 85 + 5 * _texture(painter, rng, block, 9.0))
    bone = numpy.maximum(body, endplate)
    trabeculae = 170 + 32 * _texture(painter, rng, block, 3.5) + 14 * _texture(painter, rng, block, 9.0)
    painter.paint(block, bone, 460.0, "vertebrae")
    painter.paint(block, bone + 2.2, trabeculae, "vertebrae")
    arch = numpy.maximum(painter.ellipsoid(block, (0, 62, 0), (18, 14, 1e5)), phase - 11)
    spinous = numpy.maximum(numpy.maximum(numpy.abs(x) - 3.2, numpy.abs(y - 80) - 15), phase - 8)
    transverse = numpy.maximum(
        numpy.maximum(numpy.abs(y - 61 - 0.1 * numpy.abs(x)) - 3.5, numpy.abs(x) - 39), phase - 5
    )
    posterior = smooth_union(smooth_union(arch, spinous, 4.0), transverse, 4.0)
    painter.paint(block, posterior, 420.0, "vertebrae")
    painter.paint(block, posterior + 2.4, 210 + 30 * _texture(painter, rng, block, 4.0), "vertebrae")
    canal = painter.ellipsoid(block, (0, 61, 0), (10.5, 8, 1e5))
    painter.paint(block, canal, 12.0, "spinal_canal")
    painter.paint(block, painter.ellipsoid(block, (0, 61, 0), (5.5, 4.5, 1e5)), 36.0, "spinal_canal")
    painter.masks.pop("spinal_canal", None)
    _ribs(painter, rng)


def _ribs(painter: Painter, rng: numpy.random.Generator) -> None:
    """Ribs run in the wall, from the spine down and forward; the lower they are, the shorter."""
    wall = _body(painter) + 27
    angle = numpy.arctan2(numpy.abs(painter.x) / 1.35, painter.y + 8)  # 0 at the spine, pi in front
    drop = 34 * angle + 4 * angle**2
    marrow = 140 + 40 * _texture(painter, rng, _EVERYTHING, 5.0)
    level = (190 - painter.z - drop) / _RIB_PITCH
    number = numpy.clip(numpy.round(level), 0, 8)
    length = numpy.where(number < 7, 2.5 - 0.09 * number, 2.0 - 0.35 * (number - 6))
    along = numpy.abs(level - number) * _RIB_PITCH
    distance = numpy.sqrt((along / 1.45) ** 2 + (wall / 0.95) ** 2) - 4.6
    distance = numpy.maximum(numpy.maximum(distance, (angle - length) * 40), (0.28 - angle) * 60)
    cartilage = numpy.clip((angle - 2.0) * 4, 0, 1)
    painter.paint(_EVERYTHING, distance, 520 - 400 * cartilage)
    painter.paint(_EVERYTHING, distance + 1.9, marrow * (1 - cartilage) + 95 * cartilage)


def draw_organs(painter: Painter, rng: numpy.random.Generator) -> None:
    """Lung bases, bowel, stomach, kidneys, pancreas, gallbladder, spleen and liver, back to front."""
    cavity, lungs = _cavity(painter) + 2.0, _lungs(painter)
    _bowel(painter, rng, cavity)
    _colon(painter, rng)
    for side in (-1, 1):
        _kidney(painter, rng, side)
    _pancreas(painter, rng)
    _stomach(painter, rng, cavity)
    below = numpy.maximum(cavity, 3.0 - lungs)
    _spleen(painter, rng, below)
    _liver(painter, rng, below)
    air = -862 + 22 * _texture(painter, rng, _EVERYTHING, 8.0)
    painter.paint(_EVERYTHING, lungs, air, "lungs")
    branches = _texture(painter, rng, _EVERYTHING, 13.0)
    painter.paint(_EVERYTHING, numpy.maximum(numpy.abs(branches) * 9 - 0.35, lungs + 3), -260.0)
    painter.masks.pop("lungs", None)
    heart = painter.ellipsoid(_EVERYTHING, (25, -35, 118), (58, 46, 44), 0.4)
    painter.paint(_EVERYTHING, numpy.maximum(heart, cavity), 128.0)


def _liver(painter: Painter, rng: numpy.random.Generator, limit: Array) -> None:
    right = painter.ellipsoid(_EVERYTHING, (-78, -2, 28), (68, 84, 82), 0.15)
    tail = painter.ellipsoid(_EVERYTHING, (-112, 22, -22), (36, 52, 62))
    left = painter.ellipsoid(_EVERYTHING, (-6, -52, 46), (82, 36, 42), 0.12, 0.15)
    shape = smooth_union(smooth_union(right, tail, 18), left, 24)
    caudate = painter.ellipsoid(_EVERYTHING, (-22, 2, 44), (20, 24, 28))
    shape = smooth_union(shape, caudate, 8)
    hollow = painter.ellipsoid(_EVERYTHING, (-34, -6, -28), (34, 42, 44))  # gallbladder, duodenum, hilum
    kidney_bed = painter.ellipsoid(_EVERYTHING, (-60, 44, -14), (35, 30, 64))
    wavy = painter.x - 4 - 0.12 * painter.y + 0.004 * (painter.y + 60) ** 2
    fissure = numpy.maximum(numpy.abs(wavy) - 0.07 * numpy.clip(-painter.y - 30, 0, 60), painter.y + 44)
    midline = painter.ellipsoid(_EVERYTHING, (16, 40, 30), (44, 42, 1e4))  # spine, aorta, crura
    for cut, fillet in ((hollow, 12.0), (kidney_bed, 8.0), (midline, 10.0)):
        shape = -smooth_union(-shape, cut, fillet)
    shape = numpy.maximum(shape, -fissure)
    shape = numpy.maximum(shape, limit)
    parenchyma = (
        112 + 4 * _texture(painter, rng, _EVERYTHING, 12.0) + 3 * _texture(painter, rng, _EVERYTHING, 4.0)
    )
    painter.paint(_EVERYTHING, shape, parenchyma, "liver")
    trees: list[tuple[list[Point], list[float]]] = [
        ([(-22, 18, 66), (-52, 2, 60), (-92, -10, 46), (-118, -8, 26)], [6, 5, 3.5, 2]),
        ([(-22, 18, 68), (-44, -24, 60), (-66, -54, 40)], [5.5, 4.5, 2.5]),
        ([(-18, 14, 68), (6, -36, 62), (30, -58, 50)], [5, 4, 2]),
        ([(-26, -8, 12), (-48, -6, 22), (-82, 10, 22), (-112, 30, 8)], [7.5, 6.5, 4.5, 2.5]),
        ([(-60, 0, 22), (-86, -30, 18), (-104, -44, 4)], [5, 4, 2.2]),
        ([(-48, -6, 22), (-20, -34, 36), (14, -54, 44)], [6, 4.5, 2.5]),
    ]
    for path, radii in trees:
        block, vessel = painter.tube(path, radii)
        region = numpy.maximum(shape[block] + 3, vessel)
        painter.paint(block, region, 162.0)
    block = painter.block((-96, 20, 34), 24)
    lesion = painter.ellipsoid(block, (-98, 18, 30), (15, 13, 16), 0.5) + 1.6 * _texture(
        painter, rng, block, 9.0
    )
    painter.paint(block, lesion - 2.0, 128.0, only=shape[block])
    painter.paint(
        block, lesion, 66 + 7 * _texture(painter, rng, block, 6.0), "liver_lesion", only=shape[block]
    )
    painter.paint(block, lesion + 6, 34.0, "liver_lesion", only=shape[block])
    painter.masks["liver"] |= painter.masks.get("liver_lesion", False)


def _spleen(painter: Painter, rng: numpy.random.Generator, limit: Array) -> None:
    block = painter.block((106, 34, 28), (56, 70, 76))
    body = painter.ellipsoid(block, (98, 36, 24), (33, 50, 54), 0.35)
    hollow = painter.ellipsoid(block, (66, 6, 22), (28, 48, 60), 0.25)
    notch = painter.ellipsoid(block, (98, -10, 40), (9, 12, 8))
    shape = -smooth_union(-body, hollow, 9.0)
    shape = numpy.maximum(numpy.maximum(shape, -notch), limit[block])
    painter.paint(block, shape, 124 + 4 * _texture(painter, rng, block, 7.0), "spleen")


def _kidney(painter: Painter, rng: numpy.random.Generator, side: int) -> None:
    """Cortex, pyramids around the sinus, sinus fat and pelvis, opening toward the midline and the front."""
    name = "left_kidney" if side > 0 else "right_kidney"
    height = -8.0 if side > 0 else -24.0
    center: Point = (side * 66.0, 36.0, height)
    block = painter.block(center, (44, 42, 64))
    shape = painter.ellipsoid(block, center, (29, 24, 53), side * 0.45, -side * 0.16)
    z = painter.z[block] - height
    x, y = painter.x[block] - center[0] + side * 0.16 * z, painter.y[block] - center[1]
    sinus = painter.ellipsoid(
        block, (center[0] - side * 13, center[1] - 7, height), (17, 10, 30), side * 0.45, -side * 0.16
    )
    hilum = painter.ellipsoid(
        block, (center[0] - side * 30, center[1] - 14, height), (15, 8, 15), side * 0.45
    )
    painter.paint(block, shape, 196 + 6 * _texture(painter, rng, block, 6.0), name)
    angle = numpy.arctan2(y + 4, side * x + 5)
    ring = numpy.cos(5 * angle + 1.1) * numpy.cos(z / 8.5) + 0.35
    pyramids = numpy.maximum(numpy.maximum(shape + 7, 1.5 - sinus), -6 * ring)
    painter.paint(block, pyramids, 128 + 5 * _texture(painter, rng, block, 5.0), name)
    opening = numpy.maximum(smooth_union(sinus, hilum, 7), -(1e3 + shape))
    painter.paint(
        block, numpy.maximum(opening, shape - 1), -78 + 16 * _texture(painter, rng, block, 5.0), "sinus"
    )
    pelvis = painter.ellipsoid(block, (center[0] - side * 17, center[1] - 9, height), (12, 5, 12), side * 0.5)
    painter.paint(block, pelvis, 14.0)
    painter.masks.pop("sinus", None)
    block, ureter = painter.tube(
        [(side * 46, 26, height - 4), (side * 40, 26, height - 40), (side * 37, 22, height - 110)],
        [3.5, 2.5, 2.2],
    )
    painter.paint(block, ureter, 18.0)


def _stomach(painter: Painter, rng: numpy.random.Generator, limit: Array) -> None:
    """A J-shaped bag with folds, fluid below and air in front."""
    path: list[Point] = [
        (62, 18, 66),
        (66, -14, 46),
        (62, -42, 18),
        (42, -58, -8),
        (14, -54, -16),
        (-14, -40, -8),
    ]
    block, bag = painter.tube(path, [30, 32, 27, 21, 16, 11])
    folds = _texture(painter, rng, block, 11.0)
    bag = numpy.maximum(bag + 1.2 * folds, limit[block])
    painter.paint(block, bag, 78.0, "stomach")
    lumen = bag + 4.5 + 1.5 * numpy.abs(folds)
    meal = 24 + 9 * _texture(painter, rng, block, 8.0) + 26 * (_texture(painter, rng, block, 6.0) > 1.2)
    painter.paint(block, lumen, meal, "stomach")
    level = painter.y[block] + 42 + 0.02 * painter.x[block]
    painter.paint(block, numpy.maximum(lumen, level * 1.5), -965.0, "stomach")


def _pancreas(painter: Painter, rng: numpy.random.Generator) -> None:
    path: list[Point] = [
        (-30, -2, -34),
        (-28, -10, -18),
        (-8, -14, -4),
        (18, -6, 4),
        (46, 6, 12),
        (76, 16, 20),
    ]
    block, gland = painter.tube(path, [11, 14, 10, 9, 9.5, 8])
    lobules = _texture(painter, rng, block, 6.0)
    painter.paint(block, gland + 2.2 * lobules, 98 + 8 * lobules, "pancreas")
    block, duct = painter.tube(path[1:], [1.6, 1.4, 1.2, 1.0, 0.8])
    painter.paint(block, duct, 40.0)
    block = painter.block((-48, -44, -16), 40)
    sac = painter.ellipsoid(block, (-48, -42, -14), (15, 24, 21), 0.5, 0.2)
    painter.paint(block, sac - 1.6, 62.0, "gallbladder")
    painter.paint(block, sac, 11.0, "gallbladder")


def _walk(rng: numpy.random.Generator, start: Point, steps: int, low: Point, high: Point) -> list[Point]:
    """A winding path that stays in a box, step 11 mm."""
    position = numpy.asarray(start)
    heading = rng.standard_normal(3)
    path = [start]
    for _ in range(steps):
        heading = heading / numpy.linalg.norm(heading) + 0.55 * rng.standard_normal(3)
        step = position + 11 * heading / numpy.linalg.norm(heading)
        beyond = (step < low) | (step > high)
        heading = numpy.where(beyond, -heading, heading)
        position = numpy.clip(step, low, high)
        path.append((float(position[0]), float(position[1]), float(position[2])))
    return path


def _bowel(painter: Painter, rng: numpy.random.Generator, limit: Array) -> None:
    """Loops of small bowel in the lower half, and the duodenum around the pancreas."""
    starts: list[Point] = [
        (-50, -55, -60),
        (0, -60, -70),
        (45, -40, -55),
        (70, -10, -70),
        (-20, -20, -80),
        (25, -70, -45),
    ]
    starts += [(70, -60, -50), (-70, -20, -75), (20, -35, -88), (60, -35, -36)]
    for start in starts:
        path = _walk(rng, start, 14, (-78, -84, -115), (86, 2, -30))
        radii = [float(rng.uniform(8.5, 12)) for _ in path]
        block, loop = painter.tube(path, radii)
        loop = numpy.maximum(loop, limit[block])
        painter.paint(block, loop, 92.0)
        content = float(rng.uniform(12, 45)) + 12 * _texture(painter, rng, block, 7.0)
        painter.paint(block, loop + 2.8, content)
        gas = numpy.maximum(loop + 4.5, 8 * (1.5 - _texture(painter, rng, block, 26.0)))
        painter.paint(block, gas, -900.0)
    block, duodenum = painter.tube(
        [(-18, -38, -6), (-42, -22, -4), (-50, -2, -22), (-46, 8, -48), (-14, 4, -58), (22, 2, -48)],
        [10, 12, 11, 11, 9, 9],
    )
    painter.paint(block, duodenum, 88.0)
    painter.paint(block, duodenum + 3, 28 + 10 * _texture(painter, rng, block, 6.0))


def _colon(painter: Painter, rng: numpy.random.Generator) -> None:
    """Ascending, transverse and descending colon with haustra, stool and gas."""
    right: list[Point] = [(-108, 14, -115), (-112, 10, -80), (-110, 0, -56), (-96, -36, -52)]
    across: list[Point] = [
        (-96, -36, -52),
        (-56, -72, -56),
        (0, -80, -52),
        (56, -74, -30),
        (98, -34, -8),
        (112, 0, 0),
    ]
    left: list[Point] = [(112, 0, 0), (116, 18, -28), (114, 22, -70), (108, 20, -115)]
    for path, radius in ((right, 23.0), (across, 18.0), (left, 16.0)):
        block, tube = painter.tube(path, [radius] * len(path))
        haustra = _texture(painter, rng, block, 19.0)
        tube = tube + 3.2 * haustra
        painter.paint(block, tube, 66.0, "colon")
        stool = -40 + 85 * _texture(painter, rng, block, 5.0) - 60 * _texture(painter, rng, block, 12.0)
        painter.paint(block, tube + 3.0, stool, "colon")
        front = painter.y[block] - float(numpy.mean([point[1] for point in path]))
        gas = numpy.maximum(tube + 3.2, 0.6 * front + 9 * (0.7 - _texture(painter, rng, block, 24.0)))
        painter.paint(block, gas, -940.0, "colon")


def draw_vessels(painter: Painter, rng: numpy.random.Generator) -> None:
    """Aorta with its branches, vena cava, renal and portal vessels."""
    aorta: list[Point] = [(12, 10, 130), (9, 10, 60), (6, 8, 0), (3, 8, -60), (0, 8, -120)]
    cava: list[Point] = [(-20, -2, 130), (-20, 4, 70), (-22, 10, 10), (-20, 12, -60), (-16, 14, -120)]
    veins: list[tuple[list[Point], list[float]]] = [
        ([(-22, 12, -26), (-40, 26, -24)], [5.0, 4.0]),
        ([(-20, 8, -10), (8, -4, -8), (46, 24, -8)], [4.5, 4.0, 4.5]),
        ([(-24, -10, 8), (-4, -14, -8), (-2, -18, -60), (4, -22, -110)], [7.0, 6.5, 5.5, 4.5]),
        ([(-8, -6, 0), (30, 8, 12), (72, 26, 26)], [5.5, 4.5, 4.0]),
    ]
    arteries: list[tuple[list[Point], list[float]]] = [
        ([(8, 8, 20), (8, -12, 18), (-16, -18, 20)], [4.0, 3.4, 2.6]),
        ([(7, 8, 4), (9, -12, -8), (12, -22, -60), (14, -24, -110)], [4.0, 3.6, 3.0, 2.4]),
        ([(5, 8, -6), (46, 28, -10)], [3.0, 2.4]),
        ([(5, 8, -16), (-40, 32, -26)], [3.0, 2.4]),
        ([(8, -12, 18), (44, 4, 22), (80, 20, 32)], [2.8, 2.4, 2.0]),
    ]
    for path, radii in veins:
        block, vessel = painter.tube(path, radii)
        painter.paint(block, vessel, 168.0)
    for path, radii in arteries:
        block, vessel = painter.tube(path, radii)
        painter.paint(block, vessel, 205.0)
    block, vessel = painter.tube(cava, [12, 11.5, 11, 10, 9])
    painter.paint(block, vessel, 152 + 5 * _texture(painter, rng, block, 8.0), "vena_cava")
    block, vessel = painter.tube(aorta, [12, 11.5, 10.5, 9.5, 8.5])
    painter.paint(block, vessel - 0.8, 70.0, "aorta")
    painter.paint(block, vessel, 212 + 4 * _texture(painter, rng, block, 9.0), "aorta")
    plaque = numpy.maximum(numpy.abs(vessel) - 1.2, 3 * (1.6 - _texture(painter, rng, block, 9.0)))
    painter.paint(block, plaque, 640.0, "aorta")
