"""A ticket as text and as HTML: its costs, and the network's tree with what was removed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from layerlottery.words import counted, number, one_line

if TYPE_CHECKING:
    from jinja2 import Template
    from rich.tree import Tree
    from torch import nn

# a Ticket, whose module imports this one
Ticket = Any
WIDTH = 200
HEADS = ("", "whole network", "ticket", "saved")


def costs(ticket: Ticket) -> list[tuple[str, str, str, str]]:
    """Rows: what, of the whole network, of the ticket, and the share that is saved."""
    cost = ticket.cost
    shown = [
        ("parameters", cost.params_before, cost.params),
        ("multiply-accumulates, one input", cost.macs_before, cost.macs),
        (f"training memory, {counted(cost.batch_size, 'input', 'inputs')} (bytes)", cost.memory_before, cost.memory),
    ]
    return [
        (what, f"{before:,}", f"{now:,}", f"{number(100 * (1 - now / before) if before else 0.0, 1)} %")
        for what, before, now in shown
    ]


def fate(ticket: Ticket, name: str) -> str:
    """What became of a block, and its score."""
    fate = "removed" if name in ticket.removed_blocks else "kept in a tie" if name in ticket.ties else "kept"
    return f"{fate}, score {ticket.scores[name]:.4g}" if name in ticket.scores else fate


def text(ticket: Ticket, network: nn.Module) -> str:
    """Lines of text: the ticket in one, its costs, and the tree of the network it was cut from."""
    from rich.console import Console
    from rich.table import Table

    table = Table(*HEADS, box=None, pad_edge=False)
    for place, column in enumerate(table.columns):
        column.justify = "right" if place else "left"
    for row in costs(ticket):
        table.add_row(*row)
    console = Console(file=StringIO(), width=WIDTH, color_system=None, markup=False, highlight=False, emoji=False)
    for part in (repr(ticket), "", table, "", _tree(ticket, network)):
        console.print(part)
    written: Any = console.file
    return "\n".join(line.rstrip() for line in written.getvalue().splitlines())


def _tree(ticket: Ticket, network: nn.Module) -> Tree:
    from rich.text import Text
    from rich.tree import Tree

    names = [*ticket.removed_blocks, *ticket.kept]

    def grow(tree: Tree, module: nn.Module, prefix: str) -> None:
        for child, held in module.named_children():
            name, kind = f"{prefix}{child}", f"{child}  {type(held).__name__}"
            told = f"{kind}: {fate(ticket, name)}" if name in names else kind
            branch = tree.add(Text(one_line(told)))
            if any(one.startswith(f"{name}.") for one in names):
                grow(branch, held, f"{name}.")

    tree = Tree(Text(one_line(type(network).__name__)))
    grow(tree, network, "")
    return tree


def page(ticket: Ticket, network: str) -> str:
    """HTML for a notebook: two tables; names are escaped."""
    order: Sequence[str] = list(ticket.scores) or [*ticket.removed_blocks, *ticket.kept]
    blocks = [(one_line(name), fate(ticket, name), name in ticket.removed_blocks) for name in order]
    return _template().render(
        told=repr(ticket), network=one_line(network), heads=HEADS, costs=costs(ticket), blocks=blocks
    )


@cache
def _template() -> Template:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    folder = FileSystemLoader(Path(__file__).parent)
    environment = Environment(autoescape=True, loader=folder, undefined=StrictUndefined, trim_blocks=True)
    return environment.get_template("ticket.html.j2")
