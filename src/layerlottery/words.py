"""Texts as people read them: signs, units and lists; and any text made harmless for where it is written.

Whatever comes from a file or a configuration passes one of `visible`, `one_line`, `markdown`, `latex` and `identifier`
where it is written, HTML besides that jinja2's autoescape. Docs: security.md.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

MINUS = "\N{MINUS SIGN}"
DASH = "\N{EN DASH}"
TIMES = "\N{MULTIPLICATION SIGN}"
ABSENT = DASH

# what steers a terminal, turns the direction of a text or can't be seen; joiners, which some scripts need, stay
UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f\ud800-\udfff]"
)
# characters of a line; what is longer is cut in the middle
LONGEST = 10_000
# of Markdown: what ends a cell, begins code or emphasis, ends the text of a link, makes an address of what follows
MARKS = re.compile(r"[\\|`*]|\](?=[(\[:])|(?<=:)//|(?<=\bwww)\.", re.IGNORECASE)
ENTITY = re.compile(r"&(?=#?\w+;)")
# and at the beginning of a line what begins a heading, a list, a quotation, a rule or code
BLOCK = re.compile(r"^(\d*)(>|[#+~=_-]+(?=\s|$)|~~~|(?<=\d)[.)](?=\s|$))")
TEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "|": r"\textbar{}",
    "[": "{[}",  # would be taken for an option of the line break before it
    "]": "{]}",
    "*": "{*}",  # likewise
    "\N{MINUS SIGN}": "$-$",
    "\N{EN DASH}": "--",
    "\N{NO-BREAK SPACE}": "~",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    "±": r"$\pm$",
    "Δ": r"$\Delta$",
    "ξ": r"$\xi$",
    "θ": r"$\theta$",
}


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


def watt_hours(kwh: float) -> str:
    """An energy."""
    return scaled(kwh, "Wh", (("k", 1.0), ("", 1e-3), ("m", 1e-6), ("µ", 1e-9)))


def grams(kg: float) -> str:
    """A mass of CO2."""
    return scaled(kg, "g", (("k", 1.0), ("", 1e-3), ("m", 1e-6), ("µ", 1e-9)))


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


def gone(removed: object) -> str:
    """3 removed, on one line: residual blocks, or what stands for as many."""
    return f"{removed}\N{NO-BREAK SPACE}removed"


def counted(count: int, singular: str, plural: str) -> str:
    """1 ticket, 2 tickets."""
    return f"{count} {singular if count == 1 else plural}"


def either(values: Iterable[object]) -> str:
    """All distinct values, in order of appearance."""
    shown = dict.fromkeys(f"{value:g}" if isinstance(value, float) else str(value) for value in values)
    return "; ".join(shown) or "not recorded"


def start(rewind: str) -> str:
    """Weights that a training starts from: the initial ones, those after an epoch, trained or fresh ones."""
    named = {"random": "fresh", "trained": "trained"}
    return named.get(rewind.partition("-")[0], f"θ{rewind}")


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


def visible(value: object) -> str:
    """The text with escapes such as \\x1b in place of what can't be seen; newlines and tabs stay."""
    return UNSEEN.sub(lambda found: ascii(found[0])[1:-1], str(value))


def one_line(value: object) -> str:
    """The same on one line."""
    lines = re.split(r"[\r\n]+", str(value))
    return visible(lines[0] if len(lines) == 1 else " ".join(filter(None, (line.strip() for line in lines))))


def terminal(value: object) -> str:
    """The same for a terminal or a log: of a line of more than 10,000 characters the middle is left out."""
    return "\n".join(map(_short, visible(value).split("\n")))


def _short(line: str) -> str:
    part, left = LONGEST // 2, len(line) - LONGEST
    return line if left <= 0 else f"{line[:part]}… ({left} more characters) …{line[-part:]}"


def markdown(value: object) -> str:
    """The text as Markdown that shows it, on one line and also within a table's cell: no HTML, no link, no code."""
    text = BLOCK.sub(r"\g<1>\\\g<2>", MARKS.sub(r"\\\g<0>", one_line(value).strip()))
    return ENTITY.sub("&amp;", text).replace("<", "&lt;")


def latex(value: object) -> str:
    """The text as LaTeX that prints it, on one line."""
    return "".join(TEX.get(sign, sign) for sign in one_line(value))


def identifier(text: str) -> str:
    """The text as an id of HTML and SVG, to which url(#…) can point."""
    return re.sub(r"[^\w.-]", lambda found: f"_{ord(found[0]):x}_", text, flags=re.ASCII)
