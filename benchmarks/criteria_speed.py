"""Scoring blocks by what they put out, beside the loops of published code: goal and measured, side by side.

    python benchmarks/criteria_speed.py --output criteria_speed.json

ResNet56 (CIFAR, option A) in float32 with 24 candidate blocks, 200 images of 32x32, one core. Ours is
`score_blocks` for all 24, given the network's blocks. The loops (criteria_loops.py) score 3 of them, one of each stage,
or 2 for KL and CKA, and their time is scaled to 24. Both sides take turns, the loops before and after each of ours; the
median of the turns' ratios counts. Scores of both sides must agree. About a minute and a half.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import itertools
import json
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import criteria_loops
import torch
from rows import Row, show
from torch import Tensor
from training_recipes import matrix_rate

from layerlottery.config.criteria import CRITERIA
from layerlottery.config.networks import NetworkSettings
from layerlottery.cost.network import macs
from layerlottery.criteria.score import paper_blocks, score_blocks
from layerlottery.networks.blocks import Block, remove_blocks
from layerlottery.networks.resnet import CifarResNet, initialize

IMAGES, SHAPE, CLASSES = 200, (3, 32, 32), 10
# one block of each stage; what comes before them is on average as deep as before all 24
CHOSEN = ("stage1.4", "stage2.4", "stage3.5")
GOALS = {"expectabs": 50.0, "hrank": 20.0, "kl": 10.0, "cka": 10.0}
NAMES = {"expectabs": "expectABS", "hrank": "HRank", "kl": "KL", "cka": "CKA"}
# a turn of these takes tens of seconds
SLOW = frozenset({"kl", "cka"})
TOGETHER = 2.5
TOLERANCE = 1e-3


@dataclass
class Setting:
    """What both sides are given."""

    model: CifarResNet
    images: Tensor
    labels: Tensor
    blocks: list[Block]
    candidates: int


def setting() -> Setting:
    """A network whose BatchNorm statistics fit its images, which are noise."""
    model = CifarResNet(NetworkSettings(depth=56, shortcut="A"), channels=SHAPE[0], classes=CLASSES)
    initialize(model, 0)
    images = torch.randn(IMAGES, *SHAPE, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(IMAGES) % CLASSES
    for norm in (module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)):
        norm.momentum = None  # the mean over all passes
    with torch.no_grad():
        model.train()(images)
    blocks = paper_blocks(model.eval(), (images, labels))
    return Setting(model, images, labels, blocks, sum(block.removable for block in blocks))


def seconds(work: Callable[[], dict[str, float]]) -> tuple[float, dict[str, float]]:
    began = time.perf_counter()
    scores = work()
    return time.perf_counter() - began, scores


def ours(given: Setting, criterion: str) -> tuple[float, dict[str, float]]:
    batch = (given.images, given.labels)
    return seconds(lambda: score_blocks(given.model, batch, CRITERIA[criterion], blocks=given.blocks))


@torch.no_grad()
def loops(given: Setting, criterion: str) -> tuple[float, dict[str, float]]:
    """Seconds of the loops over all blocks, as those over some let expect, and the scores of these."""
    function, chosen = getattr(criteria_loops, criterion), chosen_for(criterion)
    took, scores = seconds(lambda: function(given.model, list(chosen), given.images))
    # KL and CKA need a pass of the whole network first, as long as one without a block
    first = 1 if criterion in SLOW else 0
    return took * (first + given.candidates) / (first + len(chosen)), scores


def chosen_for(criterion: str) -> tuple[str, ...]:
    return CHOSEN[:2] if criterion in SLOW else CHOSEN


def agree(criterion: str, mine: dict[str, float], theirs: dict[str, float]) -> float:
    """The largest relative difference of scores; ends the benchmark where it is too large."""
    differences = [abs(mine[name] / score - 1) for name, score in theirs.items()]
    if not all(math.isfinite(one) and one <= TOLERANCE for one in differences):
        raise SystemExit(f"{NAMES[criterion]}: scores of both sides differ: {mine} and {theirs}")
    return max(differences)


def against_loops(given: Setting, criterion: str, *, turns: int) -> tuple[Row, float]:
    """A row, and the seconds of ours."""
    theirs, mine = [loops(given, criterion)], []
    for _ in range(turns):
        mine.append(ours(given, criterion))
        theirs.append(loops(given, criterion))
    off = agree(criterion, mine[0][1], theirs[0][1])
    around = [statistics.mean(pair) for pair in itertools.pairwise(took for took, _ in theirs)]
    ratio = statistics.median(plain / took for plain, (took, _) in zip(around, mine, strict=True))
    took, plain = statistics.median(one for one, _ in mine), statistics.median(around)
    measured = (
        f"{ratio:.1f} x ({took:.2f} s against {plain:.1f} s, scaled from "
        f"{len(chosen_for(criterion))} of {given.candidates} blocks; "
        f"scores differ by {off:.0e} at most)"
    )
    what = f"{NAMES[criterion]} against per-block loops, batches of {criteria_loops.BATCH}"
    figures = {"ratio": ratio, "seconds": took, "loops": plain, "difference": off}
    return Row(what, f">= {GOALS[criterion]:.0f} x", measured, ratio >= GOALS[criterion], figures), took


def together(given: Setting, took: dict[str, float]) -> Row:
    """The sum, beside the time in which this core could do the multiplications of KL and CKA alone."""
    total, rate = sum(took.values()), 1e9 * matrix_rate()
    # KL and CKA each run the network once, and what follows each block
    work = 2 * len(SLOW) * IMAGES * (macs(given.model, SHAPE) + following(given))
    least = work / rate
    measured = f"{total:.2f} s (KL and CKA multiply for {least:.1f} s at this core's {rate / 1e9:.0f} GFLOP/s)"
    figures = {"seconds": total, "least": least, "gmacs": work / 2e9, "gflops": rate / 1e9}
    return Row("the four together", f"<= {TOGETHER} s", measured, total <= TOGETHER, figures)


def following(given: Setting) -> int:
    """Multiplications for an image in what follows a block, added up over the blocks.

    All removable blocks cost the same; the first of a stage is taken to be one of these.
    """
    whole = macs(given.model, SHAPE)
    one = whole - macs(remove_blocks(given.model, [CHOSEN[0]]), SHAPE)
    return sum(one * (len(given.blocks) - 1 - place) for place, block in enumerate(given.blocks) if block.removable)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--turns", type=int, default=2, help="times that ours is measured; KL and CKA once")
    parser.add_argument("--criteria", nargs="+", choices=GOALS, default=list(GOALS))
    parser.add_argument("--output", type=Path, help="write the rows as JSON, too")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if (load := os.getloadavg()[0]) > 0.5:
        print(f"load {load:.1f}: if others use this machine, what follows is not valid")
    what, rows, took = setting(), [], {}
    for criterion in given.criteria:
        turns = 1 if criterion in SLOW else given.turns
        row, took[criterion] = against_loops(what, criterion, turns=turns)
        rows += show([row])
    if took.keys() == GOALS.keys():
        rows += show([together(what, took)])
    if given.output:
        given.output.write_text(json.dumps([vars(row) for row in rows], indent=2) + "\n")


if __name__ == "__main__":
    main()
