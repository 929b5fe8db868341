"""Every figure that the paper prints, as data.

Jordao, de Araújo, Maia, Pedrini: When Layers Play the Lottery, all Tickets Win at Initialization, arXiv 2301.10835.
All of it is CIFAR-10, 200 epochs; differences in accuracy are percentage points against the dense network.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

DATASET, EPOCHS, IMAGES = "cifar10", 200, 50_000
RESNET32, RESNET56 = "resnet32", "resnet56"
SEPARATOR = "; "  # between the notes of one row; no note holds it

AS_FIVE = "printed as p = 4, but its FLOPs saved (34.13 %) are those of p = 5, with which it is compared"
ROUNDED = "printed as 12 times the rounded 3.75 % of one block, which is less than the count"
UNNAMED = "the paper does not say which criterion chose the blocks"


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
    note: str = ""


# table 1: tickets of ResNet32 without one block, rewound to these epochs of 200
REWINDS = (0, 25, 50, 75)
REWINDING = {
    "hrank": (-0.01, +0.21, +0.10, +0.12),
    "expectabs": (+0.33, +0.13, -0.48, -0.62),
    "pls": (+0.06, +0.31, +0.10, +0.10),
    "random": (+0.38, +0.15, +0.26, -0.07),
    "kl": (+0.74, +0.46, -0.03, -0.17),
}
# table 2: ResNet32, one to five blocks
AT_INITIALIZATION = {
    "snip": (+0.08, +0.00, -0.50, -0.53, -1.00),
    "grasp": (+0.40, +0.72, +0.34, +0.41, +0.12),
}
# table 3: ResNet32, one block or as many filters
STRUCTURES = {
    ("filters", "snip"): -0.79,
    ("filters", "grasp"): -0.11,
    ("layers", "snip"): +0.08,
    ("layers", "grasp"): +0.40,
}
# table 4: percent of FLOPs, memory and CO2 saved; training speed-up
SAVINGS = {
    (RESNET32, 1): (6.82, 10.13, 11.11, 1.10),
    (RESNET32, 3): (20.47, 25.29, 25.92, 1.35),
    (RESNET32, 5): (34.13, 30.11, 33.33, 1.57),
    (RESNET56, 3): (11.25, 15.15, 13.33, 1.16),
    (RESNET56, 4): (15.00, 19.42, 20.00, 1.24),
    (RESNET56, 5): (18.76, 23.69, 24.44, 1.34),
    (RESNET56, 12): (45.00, 45.82, 51.11, 2.03),
}
# table 5: the same tickets on CIFAR-10-C and on CIFAR-10.2
ROBUSTNESS = {
    (RESNET32, 1): (+1.13, +0.00),
    (RESNET32, 3): (-0.05, -1.15),
    (RESNET32, 5): (+1.61, -0.65),
    (RESNET56, 3): (+0.59, +0.70),
    (RESNET56, 4): (+3.73, +1.75),
    (RESNET56, 5): (-0.16, +0.70),
    (RESNET56, 12): (+1.98, -1.95),
}

# the text
REINITIALIZED = +0.85  # table 1's tickets, at best
FASTER = (RESNET56, 12, 2.03)  # "up to"
LESS_CO2 = (RESNET56, 12, 51.0)
FLOPS_PER_BLOCK = {RESNET32: 6.826, RESNET56: 3.752}  # 4,718,592 MACs of 69.125 and of 125.748 million


def _table1() -> Iterator[Printed]:
    for criterion, values in REWINDING.items():
        for rewind, value in zip(REWINDS, values, strict=True):
            yield Printed(RESNET32, criterion, 1, "accuracy", value, scored_at="trained", rewind=rewind)


def _table2() -> Iterator[Printed]:
    for criterion, values in AT_INITIALIZATION.items():
        for removed, value in enumerate(values, start=1):
            yield Printed(RESNET32, criterion, removed, "accuracy", value)


def _table3() -> Iterator[Printed]:
    for (structure, criterion), value in STRUCTURES.items():
        yield Printed(RESNET32, criterion, 1, "accuracy", value, structure=structure)


def _of_unnamed_criterion(
    values: Mapping[tuple[str, int], tuple[float, ...]], quantities: tuple[str, ...]
) -> Iterator[Printed]:
    for (network, removed), figures in values.items():
        for quantity, value in zip(quantities, figures, strict=True):
            notes = [UNNAMED]
            if (network, removed) == (RESNET32, 5):
                notes.append(AS_FIVE)
            if (network, removed, quantity) == (RESNET56, 12, "flops"):
                notes.append(ROUNDED)
            yield Printed(network, None, removed, quantity, value, note=SEPARATOR.join(notes))


PRINTED: dict[str, tuple[Printed, ...]] = {
    "table1": tuple(_table1()),
    "table2": tuple(_table2()),
    "table3": tuple(_table3()),
    "table4": tuple(_of_unnamed_criterion(SAVINGS, ("flops", "memory", "co2", "speedup"))),
    "table5": tuple(_of_unnamed_criterion(ROBUSTNESS, ("cifar10c", "cifar10.2"))),
}
