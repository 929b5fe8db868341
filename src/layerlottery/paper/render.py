"""The paper's tables as Markdown (GitHub's pipes) and LaTeX (booktabs): the same cells, escaped in two ways."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from layerlottery.paper.measure import Row
from layerlottery.paper.printed import SEPARATOR
from layerlottery.words import ABSENT, number, signed

CAPTIONS = {
    "table1": "Table 1, rewinding: accuracy against the dense network of tickets that were scored on trained weights.",
    "table2": "Table 2, tickets at initialization: accuracy against the dense network.",
    "table3": "Table 3, structures: the same where layers, or as many filters or weights, go at initialization.",
    "table4": "Table 4, what tickets at initialization save against the dense network.",
    "table5": "Table 5, robustness of the same tickets: differences to the dense network on other test sets.",
    "figure3": "Figure 3: l1 score of every removable block.",
    "claims": "What the text of the paper claims.",
}
EMPTY = "No study fills this table: a study does by naming it in its key fills."
CONTROLLED = "Random is the mean of random removal with as many blocks removed, the same structure and rewind."
BY_HOLM = "Against random: the paired difference in accuracy, after Holm's correction."
BY_INTERVAL = "Against random: the paired difference in this quantity, not corrected for the number of comparisons."
SELF = "Where it is a dash, no random removal was trained beside the ticket, or the ticket is one itself."
MARGIN = (
    "agrees: the whole interval lies within the printed figure plus or minus the margin; disagrees: it lies outside "
    "altogether. Margins"
)
SIDE = "Claims without figure and margin are judged by the side of 0 on which the whole interval lies."
SMALL = "At a scale that is not the paper's, a disagreement does not refute it and an agreement does not confirm it."
ALONE = "With one seed there is no interval, and nothing can be inferred."
DIGITS = {"pp": 2, "%": 2, "factor": 2}


@dataclass(frozen=True)
class Sheet:
    """What is shown: heads, rows of plain text, the number of the last one's footnotes, remarks and notes."""

    caption: str
    heads: tuple[str, ...]
    cells: tuple[tuple[str, ...], ...]
    marks: tuple[tuple[int, ...], ...]
    item: int
    remarks: tuple[str, ...]
    notes: tuple[str, ...]


def sheet(name: str, rows: Sequence[Row], *, confidence: float) -> Sheet:
    """The text of a table; dataset, network and quantity have columns only where they vary."""
    columns = _columns(name, rows, confidence)
    notes = list(dict.fromkeys(note for row in rows for note in _notes(row)))
    places = {(row["dataset"], row["network"], row["quantity"], row["unit"]) for row in rows}
    caption = CAPTIONS[name]
    if len({place[:2] for place in places}) == 1:
        caption += f" {rows[0]['dataset']}, {rows[0]['network']}."
    if len({place[2:] for place in places}) == 1:
        caption += f" {_quantity(rows[0])}."
    return Sheet(
        caption,
        tuple(columns),
        tuple(tuple(cell(row) for cell in columns.values()) for row in rows),
        tuple(tuple(sorted(notes.index(note) + 1 for note in _notes(row))) for row in rows),
        list(columns).index("item"),
        tuple(_remarks(name, rows)) if rows else (EMPTY,),
        tuple(notes),
    )


def _columns(name: str, rows: Sequence[Row], confidence: float) -> dict[str, Callable[[Row], str]]:
    varying: dict[str, Callable[[Row], str]] = {
        "dataset": lambda row: str(row["dataset"]),
        "network": lambda row: str(row["network"]),
        "item": lambda row: str(row["item"]),
        "quantity": _quantity,
    }
    kept = {head: cell for head, cell in varying.items() if head == "item" or len({cell(row) for row in rows}) > 1}
    shown = kept | {
        "paper": lambda row: _figure(row, "paper"),
        "measured": lambda row: _figure(row, "measured"),
        f"{100 * confidence:g} % interval": _interval,
        "seeds": lambda row: str(row["seeds"]),
        "verdict": lambda row: str(row["verdict"]),
    }
    if name == "figure3":  # scores, not tickets: there is nothing to remove at random
        return shown
    return shown | {
        "random": lambda row: _figure(row, "random"),
        "against random": lambda row: row.get("against_random") or ABSENT,
    }


def _quantity(row: Row) -> str:
    return f"{row['quantity']} ({row['unit']})"


def _figure(row: Row, column: str) -> str:
    value, unit = row.get(column), row["unit"]
    if value is None:
        return ABSENT
    write = signed if unit in ("pp", "CKA") else number
    return write(value, DIGITS.get(unit, 3))


def _interval(row: Row) -> str:
    if row.get("low") is None or row.get("high") is None:
        return ABSENT
    return f"[{_figure(row, 'low')}, {_figure(row, 'high')}]"


def _notes(row: Row) -> list[str]:
    return row["note"].split(SEPARATOR) if row.get("note") else []


def _remarks(name: str, rows: Sequence[Row]) -> Iterable[str]:
    """Sentences on margins, controls and scale, each only where it applies."""
    margins = {f"{row['quantity']} {row['margin']:g} {row['unit']}": None for row in rows if row.get("margin")}
    if margins:
        yield f"{MARGIN}: {', '.join(margins)}."
    if name == "claims":
        yield SIDE
    elif name != "figure3" and any(row["seeds"] for row in rows):
        yield f"{CONTROLLED} {SELF}"
    compared = {row["quantity"].startswith("Δ accuracy") for row in rows if row.get("against_random")}
    if compared:
        yield from (words for held, words in ((True, BY_HOLM), (False, BY_INTERVAL)) if held in compared)
    scales = list(dict.fromkeys(row["scale"] for row in rows if row.get("scale")))
    if scales:
        yield f"Scale: {'; '.join(scales)}."
    if set(scales) - {"the paper's"}:
        yield SMALL
    if any(row["seeds"] == 1 for row in rows):
        yield ALONE


def markdown(name: str, rows: Sequence[Row], *, confidence: float) -> str:
    """A pipe table with its caption above, remarks and numbered notes below."""
    shown = sheet(name, rows, confidence=confidence)
    parts = [f"**{_piped(shown.caption)}**"]
    if rows:
        lines = [shown.heads, ["---:" if right else "---" for right in map(_is_right, shown.heads)]]
        lines += [_marked(shown, number, lambda mark: f"<sup>{mark}</sup>", _piped) for number in range(len(rows))]
        parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
    parts += [_piped(remark) for remark in shown.remarks]
    parts += ["\n".join(f"{number}. {_piped(note)}" for number, note in enumerate(shown.notes, start=1))]
    return "\n\n".join(part for part in parts if part) + "\n"


def _marked(shown: Sheet, number: int, mark: Callable[[str], str], escape: Callable[[str], str]) -> list[str]:
    """A row's cells, with the numbers of its notes behind the item."""
    cells = [escape(cell) for cell in shown.cells[number]]
    if shown.marks[number]:
        cells[shown.item] += mark(", ".join(map(str, shown.marks[number])))
    return cells


def _is_right(head: str) -> bool:
    """Whether a column holds numbers."""
    return head in ("paper", "measured", "seeds", "random") or head.endswith("interval")


def _piped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


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
    "\n": " ",
    "\N{MINUS SIGN}": "$-$",
    "\N{EN DASH}": "--",
    "\N{NO-BREAK SPACE}": "~",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    "Δ": r"$\Delta$",
    "ξ": r"$\xi$",
    "θ": r"$\theta$",
}


def escaped(text: str) -> str:
    """Plain text as LaTeX that prints it."""
    return "".join(TEX.get(sign, sign) for sign in text)


def latex(name: str, rows: Sequence[Row], *, confidence: float) -> str:
    r"""A table environment for \input; the preamble needs \usepackage{booktabs}."""
    shown = sheet(name, rows, confidence=confidence)
    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{table}",
        r"\centering\footnotesize",
        rf"\caption{{{escaped(shown.caption)}}}",
    ]
    lines.append(rf"\label{{layerlottery:{name}}}")
    if rows:
        # claims are sentences: they need a column that breaks lines
        item = r"p{0.3\linewidth}" if name == "claims" else "l"
        columns = "".join(
            item if at == shown.item else "r" if _is_right(head) else "l" for at, head in enumerate(shown.heads)
        )
        lines += [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", _tex_row(map(escaped, shown.heads)), r"\midrule"]
        lines += [
            _tex_row(_marked(shown, number, lambda mark: rf"\textsuperscript{{{mark}}}", escaped))
            for number in range(len(rows))
        ]
        lines += [r"\bottomrule", r"\end{tabular}"]
    lines += [rf"\par\smallskip {{\footnotesize {escaped(remark)}\par}}" for remark in shown.remarks]
    lines += [
        rf"{{\footnotesize\textsuperscript{{{number}}}~{escaped(note)}\par}}"
        for number, note in enumerate(shown.notes, start=1)
    ]
    return "\n".join([*lines, r"\end{table}", ""])


def _tex_row(cells: Iterable[str]) -> str:
    return f"{' & '.join(cells)} \\\\"
