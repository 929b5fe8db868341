"""Every figure that the paper prints; those of its tables stand in printed.csv.

Jordao, de Araújo, Maia, Pedrini: When Layers Play the Lottery, all Tickets Win at Initialization, arXiv 2301.10835.
All of it is CIFAR-10, 200 epochs; differences in accuracy are percentage points against the dense network. Of table 1,
tickets of ResNet32 without one block, `rewind` is an epoch of 200. Table 4 prints percent of FLOPs, memory and CO2
saved and the training speed-up, table 5 the same tickets on CIFAR-10-C and CIFAR-10.2.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

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

PLACE = ("table", "network", "structure", "criterion", "scored_at", "removed", "rewind")


@dataclass(frozen=True)
class Printed:
    """One printed figure and the ticket that it belongs to.

    `rewind` is an epoch of 200; `criterion` is None where the paper does not name it; `quantity` is a
    name of measure.QUANTITIES.
    """

    network: str
    criterion: str | None
    removed: int
    quantity: str
    value: float
    structure: str = "layers"
    scored_at: str = "init"
    rewind: int = 0

    @property
    def note(self) -> str:
        """Remarks that a reader needs."""
        notes = [] if self.criterion else [UNNAMED]
        if notes and (self.network, self.removed) == (RESNET32, 5):
            notes.append(AS_FIVE)
        if (self.network, self.removed, self.quantity) == (RESNET56, 12, "flops"):
            notes.append(ROUNDED)
        return SEPARATOR.join(notes)


def _read() -> dict[str, list[Printed]]:
    found: dict[str, list[Printed]] = defaultdict(list)
    with (Path(__file__).parent / "printed.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            table, network, structure, criterion, scored_at, removed, rewind = (row.pop(name) for name in PLACE)
            found[table] += [
                Printed(
                    network, criterion or None, int(removed), quantity, float(value), structure, scored_at, int(rewind)
                )
                for quantity, value in row.items()
                if value
            ]
    return dict(found)


PRINTED = _read()
