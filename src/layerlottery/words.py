"""Numbers as people read them: one place for signs, units and lists."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

MINUS = "\N{MINUS SIGN}"
DASH = "\N{EN DASH}"
TIMES = "\N{MULTIPLICATION SIGN}"
ABSENT = DASH


def number(value: float, digits: int = 2) -> str:
    """A fixed number of digits, or a dash where nothing was measured."""
    return ABSENT if math.isnan(value) else f"{value:.{digits}f}".replace("-", MINUS)


def signed(value: float, digits: int = 2) -> str:
    """The same with its sign; a difference that rounds to zero has none."""
    if math.isnan(value):
        return ABSENT
    text = f"{value:+.{digits}f}"
    return f"{0:.{digits}f}" if float(text) == 0 else text.replace("-", MINUS)


def percent(value: float) -> str:
    """One digit and a sign that stays on the line."""
    return ABSENT if math.isnan(value) else f"{number(value, 1)}\N{NO-BREAK SPACE}%"


def factor(value: float) -> str:
    """A speed-up."""
    return ABSENT if math.isnan(value) else f"{value:.2f}{TIMES}"


def interval(mean: float, low: float, high: float, digits: int = 2) -> str:
    """A mean difference and, where there is one, its interval."""
    if math.isnan(low) or math.isnan(high):
        return signed(mean, digits)
    return f"{signed(mean, digits)} [{signed(low, digits)}, {signed(high, digits)}]"


def seconds(value: float) -> str:
    """A duration in the unit that leaves a small number."""
    if math.isnan(value):
        return "not measured"
    for unit, size in (("days", 172_800), ("h", 3600), ("min", 60)):
        if value >= size:
            return f"{value / (86_400 if unit == 'days' else size):.1f} {unit}"
    return f"{value:.1f} s"


def scaled(value: float, unit: str, prefixes: Sequence[tuple[str, float]]) -> str:
    """A quantity with the largest prefix that keeps it above one."""
    if math.isnan(value):
        return "not measured"
    prefix, size = next(((name, size) for name, size in prefixes if value >= size), prefixes[-1])
    return f"{significant(value / size)} {prefix}{unit}"


def significant(value: float) -> str:
    """Three digits at most, and no exponent for what is large."""
    text = f"{value:.3g}"
    return f"{float(text):,.0f}" if "e+" in text else text


def duration(value: float) -> str:
    """Seconds as people say them, of three digits at most: 48 s, 2 min 20 s, 35 min, 2 h 5 min, 14 h, 151 days."""
    if value < 1:
        return "under 1 s" if value else "0 s"
    for unit, size, least, minor, part in SPANS:
        if value >= least * size:
            whole, rest = divmod(round(value / part), size // part)
            if whole < 10:
                return f"{whole} {unit}" + (f" {rest} {minor}" if rest else "")
            return f"{significant(round(value / size))} {unit}"
    return f"{value:.0f} s"


def ranges(values: Iterable[int]) -> str:
    """1, 2, 3, 5 becomes 1-3, 5, with an en dash."""
    runs: list[list[int]] = []
    for value in sorted(set(values)):
        if runs and value == runs[-1][1] + 1:
            runs[-1][1] = value
        else:
            runs.append([value, value])
    shown = [str(first) if first == last else f"{first}{DASH}{last}" for first, last in runs]
    return ", ".join(shown)


def at(removed: object) -> str:
    """p = 3, on one line."""
    return f"p\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{removed}"


def counted(count: int, singular: str, plural: str) -> str:
    """1 ticket, 2 tickets."""
    return f"{count} {singular if count == 1 else plural}"


def either(values: Iterable[object]) -> str:
    """All distinct values, in order of appearance."""
    shown = dict.fromkeys(f"{value:g}" if isinstance(value, float) else str(value) for value in values)
    return "; ".join(shown) or "not recorded"


def start(rewind: str) -> str:
    """Weights that a training starts from: the initial ones, those after an epoch, or a fresh draw."""
    return "fresh" if rewind == "random" else f"θ{rewind}"


def probability(value: float) -> str:
    """A p value; three digits are as many as mean anything."""
    if math.isnan(value):
        return ABSENT
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


# a unit, its seconds, how many of it there must be, the next smaller unit and its seconds
SPANS = (("days", 86_400, 2, "h", 3600), ("h", 3600, 1, "min", 60), ("min", 60, 1, "s", 1))
UNITS = ("B", "kB", "MB", "GB", "TB")


def human_size(size: float) -> str:
    """Bytes as a short text with a decimal unit."""
    for unit in UNITS[:-1]:
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == UNITS[0] else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} {UNITS[-1]}"
