"""What a layout is made from and what comes out: boxes, paths, routes. Pixels."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Box", "Layout", "PathSpec", "PlaceSpec", "Point", "Route"]

Point = tuple[float, float]


@dataclass(frozen=True)
class Box:
    """A rectangle; `x`, `y` is its upper left corner."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class PlaceSpec:
    """What is to be placed: size in pixels, and `order` in time (ascending downwards).

    `beside` is room to the right of the box (for a self-loop and its label).
    """

    width: float
    height: float
    order: float
    beside: float = 0.0


@dataclass(frozen=True)
class PathSpec:
    """A path to draw between two different places.

    The more frequent, the straighter. Widths and heights in pixels.
    """

    source: int
    target: int
    label_width: float
    label_height: float
    stroke: float
    frequency: float


@dataclass(frozen=True)
class Route:
    """A path's line and label.

    Attributes
    ----------
    points : tuple of (x, y)
        From source to target: a start point, then cubic Bézier triples.
    label : Box
    back : bool
        Whether the path goes against time (upwards).
    """

    points: tuple[Point, ...]
    label: Box
    back: bool

    def sampled(self, per_curve: int = 16) -> list[Point]:
        """Return points on the line."""
        line = [self.points[0]]
        for i in range(1, len(self.points), 3):
            (x0, y0), (x1, y1), (x2, y2), (x3, y3) = self.points[i - 1 : i + 3]
            for step in range(1, per_curve + 1):
                t = step / per_curve
                a, b, c, d = (1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3
                line.append((a * x0 + b * x1 + c * x2 + d * x3, a * y0 + b * y1 + c * y2 + d * y3))
        return line


@dataclass(frozen=True)
class Layout:
    """Where everything is; the upper left corner of all is (0, 0)."""

    places: tuple[Box, ...]
    routes: tuple[Route, ...]
    width: float
    height: float
