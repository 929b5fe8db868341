"""Every figure that the papers print: printed.csv holds the lottery paper's tables, connected.csv the other papers'.

Jordao, de Araújo, Maia, Pedrini: When Layers Play the Lottery, all Tickets Win at Initialization, arXiv 2301.10835.
All of it is CIFAR-10, 200 epochs; differences in accuracy are percentage points against the dense network. Of table 1,
tickets of ResNet32 without one block, `rewind` is an epoch of 200. Table 4 prints percent of FLOPs, memory and CO2
saved and the training speed-up, table 5 the same tickets on CIFAR-10-C and CIFAR-10.2.

Connected papers have a table each. Two take blocks from a trained network one by one and fine-tune it after each:
`pons` is Pons, Yamamoto, Reali Costa, Jordao, arXiv 2405.17081, tables 1 to 4 of the copy in the authors' repository
(IanPons/CKA-Layer-Pruning); `consensus` is Mugnaini, Tavares Duarte, Reali Costa, Jordao, arXiv 2411.14345, of which
one figure stands in the abstract. `complexity`, of Zawish, Davy, Abraham, arXiv 2208.12816, has no printed row yet:
what its abstract says belongs to no share of the filters.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from layerlottery.config.recipes import TRAINED

DATASET, EPOCHS, IMAGES = "cifar10", 200, 50_000
RESNET32, RESNET56 = "resnet32", "resnet56"
SEPARATOR = "; "  # between the notes of one row; no note holds it

AS_FIVE = "printed as p = 4, but its FLOPs saved (34.13 %) are those of p = 5, with which it is compared"
ROUNDED = "printed as 12 times the rounded 3.75 % of one block, which is less than the count"
UNNAMED = "the paper does not say which criterion chose the blocks"

# the text
REINITIALIZED = (RESNET32, 1, +0.85)  # table 1's tickets, at best
FASTER = (RESNET56, 12, 2.03)  # "up to"
LESS_CO2 = (RESNET56, 12, 51.0)
FLOPS_PER_BLOCK = {RESNET32: 6.826, RESNET56: 3.752}  # 4,718,592 MACs of 69.125 and of 125.748 million


@dataclass(frozen=True)
class Home:
    """How the networks of a table's paper were trained: epochs, also of each fine-tuning, and images by data set."""

    sets: str
    images: Mapping[str, int]
    epochs: int = EPOCHS
    tuned: int | None = None


LOTTERY = Home("CIFAR-10", {DATASET: IMAGES})
# None: too little of it is known to call any run the paper's
HOMES: dict[str, Home | None] = {
    "pons": Home("CIFAR-10 and CIFAR-100", {DATASET: IMAGES, "cifar100": IMAGES}, tuned=EPOCHS),
    "consensus": None,
    "complexity": None,
}


@dataclass(frozen=True)
class Printed:
    """One printed figure and the ticket that it belongs to.

    `rewind` is an epoch of 200, or trained: fine-tuned, after each round of `step` blocks. `criterion` is None where
    the paper does not name it; `quantity` is a name of measure.QUANTITIES; `source` is where a connected paper has it.
    """

    network: str
    criterion: str | None
    removed: int
    quantity: str
    value: float
    structure: str = "layers"
    scored_at: str = "init"
    rewind: int | str = 0
    step: int = 0
    dataset: str = DATASET
    source: str = ""

    @property
    def note(self) -> str:
        """Remarks that a reader needs."""
        if self.source:
            return f"printed in {self.source}"
        notes = [] if self.criterion else [UNNAMED]
        if notes and (self.network, self.removed) == (RESNET32, 5):
            notes.append(AS_FIVE)
        if (self.network, self.removed, self.quantity) == (RESNET56, 12, "flops"):
            notes.append(ROUNDED)
        return SEPARATOR.join(notes)


TEXT = ("dataset", "network", "structure", "criterion", "scored_at", "source")
COUNTS = ("removed", "rewind", "step")


def _read(file: str) -> Iterator[tuple[str, Printed]]:
    """Every figure of a file with the table that it belongs to."""
    with (Path(__file__).parent / file).open(encoding="utf-8", newline="") as opened:
        for row in csv.DictReader(opened):
            table = row.pop("table")
            named: dict[str, Any] = {name: row.pop(name) or None for name in TEXT if name in row}
            counted = {name: row.pop(name) for name in COUNTS if name in row}
            named |= {name: value if value == TRAINED else int(value) for name, value in counted.items()}
            yield from ((table, Printed(quantity=key, value=float(text), **named)) for key, text in row.items() if text)


def _tables() -> dict[str, list[Printed]]:
    found: dict[str, list[Printed]] = {table: [] for table in HOMES}
    for table, one in (*_read("printed.csv"), *_read("connected.csv")):
        found.setdefault(table, []).append(one)
    return found


PRINTED = _tables()
