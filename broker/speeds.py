"""From what was measured to what is to be expected. Pure: no file, no clock.

The latest observations weigh most: each weighs half of the one three after it (`HALF_LIFE`). So half the weight lies on
the last three: one accident, or two, moves no median, and three in a row are believed, since a link that has become
slow has become slow. Time plays no part in it: a machine that was not used for a month has not changed by that, and a
clock that was set wrong changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

HALF_LIFE = 3.0
LINE_POINTS, LINE_SPAN = 4, 3.0
"""A line is drawn through so many points or more, if the largest amount is so many times the smallest."""
SPAN = 1.5
"""Pairs of points nearer to each other than this ratio say nothing of a slope but noise."""
LEAST = 0.2
"""A line may predict so little of what the plain rate does, and no less."""
MOST_POINTS = 16
"""The others weigh less than a thirtieth, and lines cost the square of it."""

Point = tuple[float, float]
"""An amount, and the seconds it took."""


def median(values: Sequence[float], weights: Sequence[float] | None = None) -> float:
    """The weighted median of `values`, latest first; by age where no weights are given. Raises ValueError for none."""
    if not values:
        raise ValueError("nothing was measured")
    weighted = sorted(zip(values, weights or _ages(len(values)), strict=True))
    half = sum(weight for _, weight in weighted) / 2
    for value, weight in weighted:
        half -= weight
        if half <= 0:
            return value
    return weighted[-1][0]


def _ages(count: int) -> list[float]:
    return [0.5 ** (number / HALF_LIFE) for number in range(count)]


def seconds(points: Sequence[Point], amount: float) -> float:
    """What `amount` will take, after `points` of which the latest comes first. Raises ValueError for none.

    A rate where that is all they show; where amounts differ enough, the line of Theil and Sen (the median of the slopes
    of all pairs), which tells what every job costs from what its size does. Neither minds an outlier.
    """
    points = [point for point in points if point[0] > 0][:MOST_POINTS]
    rated = median([took / size for size, took in points]) * amount
    amounts = [size for size, _ in points]
    if len(points) < LINE_POINTS or max(amounts) < LINE_SPAN * min(amounts):
        return rated
    return max(_on_line(points, amount, rated), LEAST * rated)


def _on_line(points: Sequence[Point], amount: float, rated: float) -> float:
    ages = _ages(len(points))
    pairs = [
        ((one[1] - other[1]) / (one[0] - other[0]), weight * other_weight * abs(one[0] - other[0]))
        for (one, weight), (other, other_weight) in combinations(zip(points, ages, strict=True), 2)
        if max(one[0], other[0]) >= SPAN * min(one[0], other[0])
    ]
    slope = median(*map(list, zip(*pairs, strict=True)))
    if slope <= 0:
        return rated
    return slope * amount + median([took - slope * size for size, took in points], ages)
