"""How cost grows: with images, depth, blocks removed, images streamed, and jobs; a plot of each.

    python benchmarks/growth.py --output growth.json --plots folder

Steps are those of the training's own loop on one core, of random images; the straight line is what multiply-accumulates
predict from the first point. Turns alternate over the points, medians count. About a minute.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from training_recipes import trainer_of

DEPTHS = (20, 32, 44, 56, 110)
REMOVED = (0, 6, 12, 18, 24)
IMAGES = (256, 512, 1024, 2048)
STREAMED = (64, 128, 256, 512)
SEEDS = (1, 3, 10, 20)
BATCH = 32
BLUE, MUTED = "#0072b2", "#767676"


@dataclass
class Curve:
    """Seconds measured at each x, and what is expected there."""

    name: str
    title: str
    x_label: str
    y_label: str
    x: list[float]
    measured: list[float]
    expected: list[float]
    expectation: str


def trainer(depth: int, removed_blocks: int, *, side: int, count: int) -> Any:
    """A training of CIFAR's ResNet without some of its blocks, taken from the stages in turn."""
    import torch

    from layerlottery.config.networks import NetworkSettings
    from layerlottery.config.training import TrainingSettings
    from layerlottery.data.batches import Normalizer
    from layerlottery.data.feed import Resident
    from layerlottery.networks.blocks import remove_blocks
    from layerlottery.networks.resnet import CifarResNet, initialize
    from layerlottery.training.loop import TrainingData

    settings = TrainingSettings(epochs=100, batch_size=BATCH, schedule="onecycle")
    model = CifarResNet(NetworkSettings(depth=depth), channels=3, classes=10)
    initialize(model, 0)
    # the first of every stage stays
    names = [f"stage{stage}.{place}" for place in range(1, depth // 6) for stage in (1, 2, 3)]
    model = remove_blocks(model, names[:removed_blocks])
    images = torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8)
    normalize = Normalizer([0.5] * 3, [0.25] * 3, device=torch.device("cpu"), channels_last=True)
    train = Resident(images, torch.arange(count) % 10)
    data = TrainingData(train, Resident(images[:10], torch.arange(10)), normalize)
    return trainer_of(model, data, settings, seed=0)


def timed(actions: Sequence[Callable[[], object]], turns: int) -> list[float]:
    """Median seconds of each action, done in turns after a first time that does not count."""
    seconds: list[list[float]] = [[] for _ in actions]
    for turn in range(turns + 1):
        for action, spent in zip(actions, seconds, strict=True):
            began = time.perf_counter()
            action()
            if turn:
                spent.append(time.perf_counter() - began)
    return [statistics.median(spent) for spent in seconds]


def steps(points: Sequence[tuple[int, int]], turns: int) -> tuple[list[float], list[float]]:
    """Seconds of a step of 32 images of 32x32 for (depth, removed blocks), and MACs of each network."""
    import torch

    from layerlottery.cost.network import macs

    trainers = [trainer(depth, removed_blocks, side=32, count=BATCH) for depth, removed_blocks in points]
    chosen = torch.arange(BATCH)
    actions = [lambda one=one: one._step(next(one.data.train.batches([chosen])), BATCH, 0, 0) for one in trainers]
    return timed(actions, turns), [float(macs(one.model, (3, 32, 32))) for one in trainers]


def in_proportion(seconds: Sequence[float], sizes: Sequence[float]) -> list[float]:
    """A line through zero and the largest, where what every step costs besides weighs least."""
    size, largest = max(zip(sizes, seconds, strict=True))
    return [largest * one / size for one in sizes]


def by_depth(turns: int) -> Curve:
    seconds, sizes = steps([(depth, 0) for depth in DEPTHS], turns)
    x = [size / 1e6 for size in sizes]
    title = "Training step by depth: ResNet20 to 110"
    return Curve(
        "depth",
        title,
        "MMACs of an image",
        "seconds",
        x,
        seconds,
        in_proportion(seconds, sizes),
        "in proportion to MACs",
    )


def by_removed(turns: int) -> Curve:
    seconds, sizes = steps([(56, removed_blocks) for removed_blocks in REMOVED], turns)
    title = "Training step of ResNet56 without blocks"
    expected = in_proportion(seconds, sizes)
    return Curve(
        "removed",
        title,
        "blocks removed",
        "seconds",
        [*map(float, REMOVED)],
        seconds,
        expected,
        "in proportion to MACs",
    )


def by_images(turns: int) -> Curve:
    """An epoch over so many images of 8x8, its look at ten test images included."""
    from layerlottery.training.checkpoint import Progress

    def epoch(one: Any) -> None:
        one.run(Progress(), until=1)

    trainers = [trainer(20, 0, side=8, count=count) for count in IMAGES]
    seconds = timed([lambda one=one: epoch(one) for one in trainers], turns)
    expected = in_proportion(seconds, [*map(float, IMAGES)])
    title = "Epoch of ResNet20 by images of 8x8"
    return Curve(
        "images",
        title,
        "training images",
        "seconds",
        [*map(float, IMAGES)],
        seconds,
        expected,
        "in proportion to images",
    )


def by_streamed(turns: int) -> Curve:
    """Decoding so many images of 500x375 of one encoded set, in batches at 224x224."""
    import torch
    from streaming import BATCH as SIZE
    from streaming import prepared

    from layerlottery.data.feed import Streamed
    from layerlottery.data.prepared import PreparedSet

    with tempfile.TemporaryDirectory() as place:
        facts = prepared(Path(place), max(STREAMED), 224, (500, 375))
        feed = Streamed(PreparedSet.open(facts).split("train"), torch.device("cpu"))

        def pass_over(count: int) -> None:
            for _ in feed.batches(torch.arange(count).split(SIZE)):
                pass

        seconds = timed([lambda count=count: pass_over(count) for count in STREAMED], turns)
    x = [*map(float, STREAMED)]
    title = "Streaming JPEG files of 500x375 at 224 px"
    expected = in_proportion(seconds, x)
    return Curve("streamed", title, "images", "seconds", x, seconds, expected, "in proportion to images")


def by_jobs(turns: int) -> Curve:
    """Planning alone: a dry run of the default benchmark with more and more seeds."""
    from pipeline_speed import project, snakemake

    counts: list[float] = []
    with project() as folder:
        actions = []
        for seeds in SEEDS:
            file = _more_seeds(folder, seeds)
            text = snakemake(folder, "--dry-run", "--quiet", "rules", "--configfile", file)
            counts.append(float(next(line.split()[1] for line in text.splitlines() if line.startswith("all "))))
            actions.append(lambda file=file: snakemake(folder, "--dry-run", "--quiet", "--configfile", file))
        seconds = timed(actions, turns)
    each = (seconds[-1] - seconds[0]) / (counts[-1] - counts[0])
    expected = [seconds[0] + each * (count - counts[0]) for count in counts]
    title = f"Planning: {1000 * each:.1f} ms a job beside the start"
    return Curve("jobs", title, "jobs", "seconds", counts, seconds, expected, "straight line")


def _more_seeds(folder: Path, seeds: int) -> str:
    import yaml

    benchmark = yaml.safe_load((folder / "config.yaml").read_text())
    for study in benchmark["studies"]:
        study["seeds"] = list(range(seeds))
    (folder / f"seeds{seeds}.yaml").write_text(yaml.safe_dump(benchmark))
    return f"seeds{seeds}.yaml"


def draw(curve: Curve, file: Path) -> None:
    """Measured beside expected, as SVG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6, 3.1), layout="constrained")
    axes = figure.subplots()
    axes.plot(curve.x, curve.expected, color=MUTED, linestyle="--", label=curve.expectation)
    axes.plot(curve.x, curve.measured, color=BLUE, marker="o", label="measured")
    axes.set(title=curve.title, xlabel=curve.x_label, ylabel=curve.y_label, ylim=(0, None))
    axes.grid(axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    # the same bytes for the same figures
    figure.savefig(file, metadata={"Date": None})


def curves(turns: int) -> list[Curve]:
    # steps are short, and one core in two may be another's for a second
    return [by_images(3 * turns), by_depth(3 * turns), by_removed(3 * turns), by_streamed(turns), by_jobs(turns)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--turns", type=int, default=2, help="times that each plan is made; steps three times as often")
    parser.add_argument("--output", type=Path, help="write the figures as JSON")
    parser.add_argument("--plots", type=Path, help="folder for growth_*.svg")
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    torch.set_num_threads(1)
    found = curves(given.turns)
    for curve in found:
        print(curve.title)
        for x, measured, expected in zip(curve.x, curve.measured, curve.expected, strict=True):
            print(f"  {x:8.0f} {curve.x_label}: {measured:.3f} s, {curve.expectation} {expected:.3f} s", flush=True)
        if given.plots:
            draw(curve, given.plots / f"growth_{curve.name}.svg")
    if given.output:
        given.output.write_text(json.dumps([asdict(curve) for curve in found], indent=1) + "\n")


if __name__ == "__main__":
    main()
