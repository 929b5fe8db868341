"""Cards are rendered by jinja2 as Markdown; names and values can't break a table, end a block or become HTML."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from layerlottery.words import counted, markdown, number, one_line, percent, seconds, signed, visible


def render(template: str, **facts: object) -> str:
    """A card of this room's template; sections without facts are left out."""
    environment = Environment(
        # what no filter has marked as Markdown is escaped, by rules of Markdown in place of HTML's
        autoescape=True,
        finalize=escaped,
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for known in (code, fenced, rows, counted, number, percent, seconds, signed):
        environment.filters[known.__name__] = known
    text = environment.get_template(template).render(facts)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def escaped(value: object) -> Markup:
    """A value on one line, as Markdown that shows it."""
    return value if isinstance(value, Markup) else Markup(markdown(value))  # noqa: S704


def code(value: object) -> Markup:
    """A value as inline code that ends neither itself nor the cell of a table."""
    text = one_line(value).replace("|", "\\|")
    ticks, space = _ticks(text, 1), " " if "`" in text else ""
    return Markup(f"{ticks}{space}{text}{space}{ticks}")  # noqa: S704


def rows(values: Mapping[str, object]) -> Markup:
    """Rows of names and values; those that are None or empty are left out."""
    known = ((escaped(name), escaped(value)) for name, value in values.items() if value not in (None, ""))
    return Markup("\n").join(Markup("| {} | {} |").format(*row) for row in known)


def fenced(text: str, language: str) -> Markup:
    """A block of code, whatever it holds."""
    text = visible(text)
    ticks = _ticks(text, 3)
    return Markup(f"{ticks}{language}\n{text.strip()}\n{ticks}")  # noqa: S704


def _ticks(text: str, least: int) -> str:
    """More backticks in a row than the text has."""
    return "`" * max(least, 1 + max(map(len, re.findall("`+", text)), default=0))
