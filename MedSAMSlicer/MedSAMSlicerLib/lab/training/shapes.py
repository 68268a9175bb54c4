"""Shapes of a generated scene: implicit shapes painted into a label volume.

Every `add_*` function paints one body (or a family of them) into a `ShapeCanvas` and registers the sets of labels that
make sensible segmentation targets: a body with all that lies inside it, its core, its wall, its content.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from .fields import FieldGrid, Source, smooth_noise

Block = tuple[slice, slice, slice]
_LUMP_CELLS = (4.0, 8.0, 16.0, 32.0)


@dataclass
class ShapeCanvas:
    """The label volume being painted.

    `labels` is (slices, size, size) int32; `points` the warped coordinates (3, slices, size, size) in which shapes
    are evaluated; `lumps` four unit-variance noise fields from coarse to fine; `twin_of` maps a label to the label
    whose intensity it repeats; `targets` are label sets; `scattered` the targets that may have many components.
    """

    source: Source
    grid: FieldGrid
    labels: Tensor
    points: Tensor
    lumps: Tensor
    margin: float
    count: int = 1
    twin_of: dict[int, int] = field(default_factory=dict)
    family_of: dict[int, int] = field(default_factory=dict)
    targets: list[frozenset[int]] = field(default_factory=list)

    @classmethod
    def empty(cls, source: Source, grid: FieldGrid) -> ShapeCanvas:
        points = grid.coordinates(source.device)
        amplitude = source.uniform(0.0, 0.035)
        warp = smooth_noise(source, grid, 3, source.uniform(1.5, 6.0))
        labels = torch.zeros(points.shape[1:], dtype=torch.int32, device=source.device)
        lumps = torch.cat([smooth_noise(source, grid, 1, cells) for cells in _LUMP_CELLS])
        return cls(source, grid, labels, points + amplitude * warp, lumps, 3 * amplitude)

    def new_label(self, like: int | None = None, family: int | None = None) -> int:
        """A fresh label, with the intensity of `like` or similar to that of `family` when given."""
        label = self.count
        self.count += 1
        if like is not None:
            self.twin_of[label] = like
        if family is not None:
            self.family_of[label] = family
        return label

    def block(self, center: Tensor, reach: float) -> Block | None:
        """The part of the grid within `reach` of the center, or None when there is none."""
        z, xy = self.grid.axes(torch.device("cpu"))
        bounds = []
        for axis, positions in zip(center.tolist(), (z, xy, xy), strict=True):
            inside = torch.nonzero((positions - axis).abs() <= reach + self.margin)
            if len(inside) == 0:
                return None
            bounds.append(slice(int(inside[0]), int(inside[-1]) + 1))
        return bounds[0], bounds[1], bounds[2]

    def points_in(self, block: Block) -> Tensor:
        """Warped coordinates (3, k, j, i) of a block."""
        return self.points[:, block[0], block[1], block[2]]

    def paint(self, block: Block, inside: Tensor, label: int) -> None:
        self.labels[block].masked_fill_(inside, label)

    def place(self, size: float, spread: float = 0.4) -> Tensor:
        """A random center (z, y, x) of a body of about `size`; often with one of its ends inside, often with both."""
        reach = self.grid.slices * self.grid.step / 2
        if self.source.chance(0.35):
            reach += 0.8 * size
        elif self.source.chance(0.5):
            reach = max(reach - size, 0.3 * reach)
        position = [
            self.source.uniform(-reach, reach),
            self.source.uniform(-spread, spread),
            self.source.uniform(-spread, spread),
        ]
        return torch.tensor(position, device=self.source.device)


def _radius(canvas: ShapeCanvas, center: Tensor, radii: Tensor, block: Block, lumpiness: float) -> Tensor:
    """Implicit value below 1 inside a rotated superellipsoid with a lumpy surface, over the block."""
    source = canvas.source
    points = canvas.points_in(block)
    offset = points - center[:, None, None, None]
    turned = torch.einsum("ij,j...->i...", source.rotation(), offset).abs() / radii[:, None, None, None]
    power = source.uniform(1.6, 3.6)
    value = turned.square().sum(0) if power < 2.2 else turned.clamp(min=1e-6).pow(power).sum(0).pow(2 / power)
    if lumpiness > 0:
        coarse, fine = source.integer(0, 2), source.integer(1, 3)
        lumps = canvas.lumps[coarse][block] + 0.5 * canvas.lumps[fine][block]
        value = value + lumpiness * lumps * value.clamp(max=1.5)
    return value


def _radii(source: Source, size: float) -> Tensor:
    stretch = [source.log_uniform(0.6, 1.6) for _ in range(3)]
    return torch.tensor([size * value for value in stretch], device=source.device)


def add_ellipsoid(canvas: ShapeCanvas, size: float, center: Tensor | None = None) -> None:
    """A superellipsoid-like organ, now and then with nested cores."""
    source = canvas.source
    center = canvas.place(size) if center is None else center
    radii = _radii(source, size)
    block = canvas.block(center, float(radii.max()) * 1.5)
    if block is None:
        return
    lumpiness = source.uniform(0, 0.3) if source.chance(0.6) else 0.0
    value = _radius(canvas, center, radii, block, lumpiness)
    outer = canvas.new_label()
    canvas.paint(block, value < 1, outer)
    members = {outer}
    if source.chance(0.3):
        core = canvas.new_label()
        canvas.paint(block, value < source.uniform(0.15, 0.7), core)
        members.add(core)
        canvas.targets.append(frozenset({core}))
    canvas.targets.append(frozenset(members))


def add_tumor(canvas: ShapeCanvas, size: float, center: Tensor | None = None) -> None:
    """An inhomogeneous body: surrounding edema, rim, core and pockets; the whole and its parts are targets."""
    source = canvas.source
    center = canvas.place(size) if center is None else center
    radii = _radii(source, size)
    block = canvas.block(center, float(radii.max()) * 1.8)
    if block is None:
        return
    whole = _radius(canvas, center, radii, block, source.uniform(0.15, 0.6))
    inner = _radius(canvas, center + source.vector(size * 0.25), radii * source.uniform(0.5, 0.8), block, 0.3)
    first = canvas.new_label()
    canvas.paint(block, whole < 1, first)
    parts = [first]
    rim = canvas.new_label(family=first if source.chance(0.6) else None)
    canvas.paint(block, (inner < 1) & (whole < 1), rim)
    parts.append(rim)
    core = canvas.new_label(family=first if source.chance(0.4) else None)
    canvas.paint(block, (inner < source.uniform(0.3, 0.75)) & (whole < 1), core)
    parts.append(core)
    if source.chance(0.6):
        pocket = canvas.new_label(family=first if source.chance(0.5) else None)
        lumps = canvas.lumps[source.integer(1, 3)][block]
        canvas.paint(block, (lumps > source.uniform(0.4, 1.4)) & (whole < 0.85), pocket)
        parts.append(pocket)
    canvas.targets += [frozenset(parts)] * 2
    if source.chance(0.5):
        canvas.targets.append(frozenset(parts[1:]))


def add_shell(canvas: ShapeCanvas, size: float, center: Tensor | None = None) -> None:
    """A wall around a content: the wall, the content and both together are targets."""
    source = canvas.source
    center = canvas.place(size) if center is None else center
    radii = _radii(source, size)
    block = canvas.block(center, float(radii.max()) * 1.5)
    if block is None:
        return
    value = _radius(canvas, center, radii, block, source.uniform(0, 0.2))
    wall, content = canvas.new_label(), canvas.new_label()
    canvas.paint(block, value < 1, wall)
    canvas.paint(block, value < source.uniform(0.3, 0.8), content)
    if source.chance(0.3):
        level = canvas.points[1][block] if source.chance(0.7) else canvas.points[2][block]
        fluid = canvas.new_label()
        canvas.paint(block, (canvas.labels[block] == content) & (level > float(center[1])), fluid)
        canvas.targets.append(frozenset({wall, content, fluid}))
        return
    canvas.targets += [frozenset({content}), frozenset({wall, content})]
    if source.chance(0.2):
        canvas.targets.append(frozenset({wall}))  # rarely, since its box is that of the whole


def add_patchwork(canvas: ShapeCanvas, size: float, center: Tensor | None = None) -> None:
    """A body of two to four unlike tissues in patches or layers, like bowel, a vertebra or a necrotic tumor."""
    source = canvas.source
    center = canvas.place(size) if center is None else center
    radii = _radii(source, size)
    block = canvas.block(center, float(radii.max()) * 1.6)
    if block is None:
        return
    value = _radius(canvas, center, radii, block, source.uniform(0, 0.4))
    parts = [canvas.new_label()]
    canvas.paint(block, value < 1, parts[0])
    limit = source.uniform(0.6, 0.97)
    for _ in range(source.integer(1, 3)):
        part = canvas.new_label(family=parts[0] if source.chance(0.2) else None)
        lumps = canvas.lumps[source.integer(0, 3)][block]
        chosen = (value < limit) & (lumps > source.uniform(-0.8, 0.9))
        canvas.paint(block, chosen, part)
        parts.append(part)
        limit *= source.uniform(0.6, 1.0)
    canvas.targets += [frozenset(parts)] * 2


def add_sheet(canvas: ShapeCanvas, size: float, center: Tensor | None = None) -> None:
    """A thin curved or branching sheet inside an ellipsoid, like a corpus callosum, ventricles or a fissure."""
    source = canvas.source
    center = canvas.place(size) if center is None else center
    radii = _radii(source, size * 1.3)
    block = canvas.block(center, float(radii.max()) * 1.5)
    if block is None:
        return
    limit = _radius(canvas, center, radii, block, source.uniform(0, 0.4))
    offset = canvas.points_in(block) - center[:, None, None, None]
    axes = source.rotation()
    level = torch.einsum("j,j...->...", axes[0], offset)
    side = torch.einsum("j,j...->...", axes[1], offset)
    bend = source.uniform(-1.2, 1.2) / size
    surface = (
        level
        + bend * side.square()
        + size * source.uniform(0.05, 0.3) * canvas.lumps[source.integer(0, 1)][block]
    )
    thickness = size * source.uniform(0.08, 0.3) * (1 + 0.4 * canvas.lumps[source.integer(0, 2)][block])
    inside = (surface.abs() < thickness) & (limit < 1)
    if source.chance(0.5):
        mirrored = level - bend * side.square() - size * source.uniform(0, 0.4)
        inside |= (mirrored.abs() < thickness) & (limit < 1)
    label = canvas.new_label()
    canvas.paint(block, inside, label)
    canvas.targets += [frozenset({label})] * 2


def add_crescent(canvas: ShapeCanvas, size: float, center: Tensor | None = None) -> None:
    """An ellipsoid from which another one has bitten a part; the biter may be seen or not."""
    source = canvas.source
    center = canvas.place(size) if center is None else center
    radii = _radii(source, size)
    block = canvas.block(center, float(radii.max()) * 1.5)
    if block is None:
        return
    body = _radius(canvas, center, radii, block, source.uniform(0, 0.25))
    bite = _radius(canvas, center + source.vector(size * source.uniform(0.5, 1.0)), radii, block, 0.1)
    label = canvas.new_label()
    canvas.paint(block, (body < 1) & (bite > 1), label)
    if source.chance(0.4):
        canvas.paint(block, (bite < 0.9) & (body < 2.0), canvas.new_label())
    canvas.targets.append(frozenset({label}))


def add_twins(canvas: ShapeCanvas, size: float, center: Tensor | None = None) -> None:
    """Two or three touching shapes of equal intensity, each a target of its own; a thin gap may part them."""
    source = canvas.source
    center = canvas.place(size) if center is None else center
    first = canvas.new_label()
    distance = size * source.uniform(1.5, 2.2)
    direction = source.vector(1.0)
    direction[0] *= 0.3
    values: list[tuple[Block, Tensor, int]] = []
    for index in range(source.integer(2, 3)):
        label = first if index == 0 else canvas.new_label(like=first)
        position = center + direction * distance * index
        radii = _radii(source, size).clamp(size * 0.7, size * 1.3)
        block = canvas.block(position, float(radii.max()) * 1.3)
        if block is not None:
            values.append((block, _radius(canvas, position, radii, block, source.uniform(0, 0.12)), label))
    gap = source.uniform(1.0, 1.25)
    if source.chance(0.5):
        seam = canvas.new_label()
        for block, value, _ in values:
            canvas.paint(block, value < gap, seam)
    for block, value, label in values:
        canvas.paint(block, value < 1, label)
        canvas.targets.append(frozenset({label}))


def _capsule(canvas: ShapeCanvas, start: Tensor, end: Tensor, radii: tuple[float, float], label: int) -> None:
    """Paint a segment with a radius that changes from start to end."""
    center, axis = (start + end) / 2, end - start
    length = float(axis.norm())
    block = canvas.block(center, length / 2 + max(radii))
    if block is None:
        return
    offset = canvas.points_in(block) - start[:, None, None, None]
    along = (torch.einsum("j,j...->...", axis, offset) / max(length**2, 1e-9)).clamp(0, 1)
    squared = (offset - axis[:, None, None, None] * along).square().sum(0)
    radius = radii[0] + (radii[1] - radii[0]) * along
    canvas.paint(block, squared < radius.square(), label)


def _walk(
    source: Source, start: Tensor, direction: Tensor, step: float, steps: int, bend: float
) -> list[Tensor]:
    path = [start]
    for _ in range(steps):
        direction = direction + source.vector(bend)
        direction = direction / direction.norm()
        path.append(path[-1] + direction * step)
    return path


def add_tube(canvas: ShapeCanvas, size: float, center: Tensor | None = None) -> None:
    """A bent tube, like a vessel or a loop of bowel, with or without a wall and with a changing caliber."""
    source = canvas.source
    center = canvas.place(size) if center is None else center
    radius = size * source.uniform(0.2, 0.55)
    direction = source.vector(1.0)
    if source.chance(0.4):
        direction = torch.tensor([1.0, 0.0, 0.0], device=source.device) + source.vector(0.5)
    bend = source.uniform(0.1, 0.9)
    ahead = _walk(source, center, direction, radius * 1.1, source.integer(3, 7), bend)
    behind = _walk(source, center, -direction, radius * 1.1, source.integer(3, 7), bend)
    path = behind[:0:-1] + ahead
    caliber = [radius * source.uniform(0.75, 1.25) for _ in path]
    outer = canvas.new_label()
    walls = [(outer, 1.0)]
    if source.chance(0.35):
        walls.append((canvas.new_label(), source.uniform(0.5, 0.85)))
    for label, scale in walls:
        for index in range(len(path) - 1):
            ends = (caliber[index] * scale, caliber[index + 1] * scale)
            _capsule(canvas, path[index], path[index + 1], ends, label)
    canvas.targets.append(frozenset(label for label, _ in walls))
    if len(walls) == 2 and source.chance(0.5):
        canvas.targets.append(frozenset({walls[1][0]}))


def add_tree(canvas: ShapeCanvas, size: float, center: Tensor | None = None) -> None:
    """A bifurcating vessel tree: branches part and, seen from the other end, merge."""
    source = canvas.source
    center = canvas.place(size) if center is None else center
    label = canvas.new_label()

    def grow(start: Tensor, direction: Tensor, radius: float, depth: int) -> None:
        path = _walk(source, start, direction, radius * 2.0, source.integer(2, 3), 0.35)
        thinner = radius * source.uniform(0.7, 0.95)
        for index in range(len(path) - 1):
            _capsule(canvas, path[index], path[index + 1], (radius, thinner), label)
        if depth == 0:
            return
        heading = (path[-1] - path[-2]) / (path[-1] - path[-2]).norm()
        for sign in (1.0, -1.0):
            turned = heading + sign * source.vector(source.uniform(0.3, 0.8))
            grow(path[-1], turned / turned.norm(), thinner * source.uniform(0.65, 0.9), depth - 1)

    direction = source.vector(1.0) + torch.tensor([0.8, 0.0, 0.0], device=source.device)
    radius = size * source.uniform(0.12, 0.3)
    grow(center - direction * radius * 2, direction / direction.norm(), radius, source.integer(1, 3))
    canvas.targets.append(frozenset({label}))
