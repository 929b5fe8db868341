"""What a unit of each stage's work takes, on the machine that was measured or by a GPU's data sheet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from layerlottery.config.studies import Run

DENSE = "none"
# dataset, network, structure of its tickets; DENSE is the whole network
Family = tuple[str, str, str]
# dataset, network, criterion, structure
Scoring = tuple[str, str, str, str]


@dataclass(frozen=True)
class Rates:
    """Seconds of one job's process on its device.

    `networks` holds for each family what `probes` measured of the dense network, or of a ticket that lost the
    `densities` of that family. `stages` are what stages take for a network of no work, `launch` what starting any job
    takes. `slowdown` is seconds on the clock for each of these, with as many jobs at once as there will be.
    """

    device: str
    networks: Mapping[Family, Mapping[str, float]]
    counts: Mapping[Family, int]
    scores: Mapping[Scoring, float]
    stages: Mapping[str, float]
    corrupted: Mapping[str, float] = field(default_factory=dict)
    launch: float = 0.0
    imports: float = 0.0
    slowdown: float = 1.0
    watts: float = 0.0
    memory_watts: float = 0.0
    seconds: float = 0.0  # that measuring them took

    def of(self, run: Run, name: str) -> float:
        """The rate of a network: between those of the dense one and of the smallest ticket, by what it lost.

        All blocks that a criterion may choose count alike, for it has not chosen yet.
        """
        dense = self.networks[run.dataset, run.network, DENSE][name]
        family = run.dataset, run.network, run.structure
        if not run.removed:
            return dense
        smallest = self.networks[family][name]
        return dense + (smallest - dense) * run.removed / self.counts[family]
