"""Draws times against the length of history as an SVG picture, with nothing but text."""

import itertools
import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 760, 420
LEFT, TOP, RIGHT, BOTTOM = 70, 56, 240, 56
# Told apart by people who do not see all colours (Okabe and Ito), and by their marks.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
MARKS = (
    '<circle cx="{x:.1f}" cy="{y:.1f}" r="4"/>',
    '<path d="M{x:.1f} {y:.1f}m-4 -4h8v8h-8z"/>',
    '<path d="M{x:.1f} {y:.1f}m0 -5l5 9h-10z"/>',
    '<path d="M{x:.1f} {y:.1f}m0 -6l5 6l-5 6l-5 -6z"/>',
    '<path d="M{x:.1f} {y:.1f}m0 5l5 -9h-10z"/>',
    '<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="none" stroke-width="2"/>',
)
STEPS = (1, 2, 5)


def svg(title: str, days: Sequence[int], lines: Mapping[str, Sequence[float]]) -> str:
    """Return a picture of lines: name to milliseconds, one for each of `days`. Times stand on a logarithmic scale."""
    smallest = min(value for values in lines.values() for value in values)
    largest = max(value for values in lines.values() for value in values)
    ticks = _ticks(smallest, largest)
    low, high = ticks[0], ticks[-1]

    def across(number: int) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (number + 0.5) / len(days)

    def up(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * math.log(value / low) / math.log(high / low)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
        f' aria-label="{escape(title)}" font-family="system-ui, sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<text x="{LEFT}" y="28" font-size="16" font-weight="600">{escape(title)}</text>',
    ]
    for tick in ticks:
        parts.append(f'<path d="M{LEFT} {up(tick):.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{up(tick) + 4:.1f}" text-anchor="end">{tick:g} ms</text>')
    for number, day in enumerate(days):
        label = f"{day} day{'s' if day > 1 else ''}"
        parts.append(f'<text x="{across(number):.1f}" y="{HEIGHT - BOTTOM + 22}" text-anchor="middle">{label}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 12}" text-anchor="middle">length of the history</text>')
    ends = _apart([up(values[-1]) for values in lines.values()])
    for number, (name, values) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        places = [(across(place), up(value)) for place, value in enumerate(values)]
        path = " L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        marks = "".join(MARKS[number % len(MARKS)].format(x=x, y=y) for x, y in places)
        parts.append(f'<g fill="{colour}" stroke="{colour}">{marks}</g>')
        parts.append(f'<text x="{WIDTH - RIGHT + 8}" y="{ends[number] + 4:.1f}" fill="{colour}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _ticks(smallest: float, largest: float) -> list[float]:
    """Round numbers from below the smallest to above the largest value."""
    numbers = [step * 10.0**power for power in range(-3, 7) for step in STEPS]
    first = max(place for place, number in enumerate(numbers) if number <= smallest)
    last = min(place for place, number in enumerate(numbers) if number >= largest)
    return numbers[first : max(last, first + 1) + 1]


def _apart(places: Sequence[float], least: float = 16.0) -> list[float]:
    """Move labels so far apart that none covers another, each as near to its place as that allows."""
    order = sorted(range(len(places)), key=lambda number: places[number])
    moved = list(places)
    for before, after in itertools.pairwise(order):
        moved[after] = max(moved[after], moved[before] + least)
    return moved
