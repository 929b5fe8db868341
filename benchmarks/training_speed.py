"""Training beside a conventional PyTorch recipe on all cores of this machine: goal and measured, side by side.

    python benchmarks/training_speed.py --output training_speed.json
    python benchmarks/training_speed.py --data folder/of/cifar10/parquet
    python benchmarks/training_speed.py --accuracy
    python benchmarks/training_speed.py --accuracy types --seeds 10

Ours are as many one-thread processes as cores; the conventional recipe (DataLoader, torchvision transforms image by
image, float32 eager, torch.optim.SGD) is one process with a thread a core, without and with worker processes, of which
the faster counts; a second row is against the same recipe in our precision and memory layout. Beside a ratio stands the
one of steps that are nothing but convolutions, which no change around them can pass. All processes start first and
wait; then the sides take turns, some seconds each, and the median of the turns' ratios counts. Without --data images
are noise. Needs a machine that nobody else uses.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rows import Row, show
from training_recipes import REMOVED, SIZES, network_of

CORES = len(os.sched_getaffinity(0))
RECIPES = Path(__file__).with_name("training_recipes.py")
TRAIN, TEST = 50_000, 10_000
TURN_SECONDS = 4
EPOCHS = {"cifar": 6, "digits": 7}


@dataclass
class Process:
    """The other end of training_recipes.serve."""

    options: dict[str, Any]
    threads: int = 1
    child: subprocess.Popen[str] = field(init=False)

    def __post_init__(self) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": str(self.threads)}
        self.child = subprocess.Popen(
            [sys.executable, str(RECIPES), json.dumps(self.options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def tell(self, command: str) -> None:
        assert self.child.stdin is not None
        print(command, file=self.child.stdin, flush=True)

    def answer(self) -> Any:
        assert self.child.stdout is not None
        line = self.child.stdout.readline()
        if not line:
            raise SystemExit(f"a process of the benchmark ended: {self.options}")
        return line.strip() if line.startswith("ready") else json.loads(line)

    def ask(self, command: str) -> Any:
        self.tell(command)
        return self.answer()

    def end(self) -> None:
        assert self.child.stdin is not None
        self.child.stdin.close()
        self.child.wait()


def start(processes: list[Process]) -> list[Process]:
    for process in processes:
        process.answer()
    return processes


def together(processes: list[Process], command: str) -> list[Any]:
    """What all answer to a command given to all at once."""
    for process in processes:
        process.tell(command)
    return [process.answer()[0] for process in processes]


def rate(processes: list[Process]) -> float:
    """Training images a second of all the processes together, each over the same few seconds."""
    return sum(together(processes, f"rate {TURN_SECONDS}"))


def flops(size: str, removed: int = 0) -> int:
    """Of training on one image: forward, gradient of the weights, and of the maps but for the first layer's."""
    from layerlottery.cost.network import macs

    side, channels = SIZES[size][:2]
    model = network_of(size, seed=0, removed_blocks=removed)
    first = macs(model.stem[0], (channels, side, side))
    return 2 * (3 * macs(model, (channels, side, side)) - first)


# (tuned, worker processes) of the conventional recipe's variants
Variant = tuple[bool, int]


@dataclass
class Turn:
    """Images a second of each side, and GFLOP/s of matrix products in our type, measured one after the other."""

    ours: float
    rivals: dict[Variant, float]
    other_type: float | None
    convolutions: float
    product: float


def speed(size: str, folder: Path, *, turns: int, goal: float) -> list[Row]:
    """Images a second against the conventional recipe, as it is and tuned; for large images also against products."""
    common = {"size": size, "folder": str(folder), "epochs": 200}
    ours = [Process(common | {"kind": "ours", "seed": seed}) for seed in range(CORES)]
    rivals = {
        (tuned, workers): [
            Process(common | {"kind": "conventional", "seed": 0, "workers": workers, "tuned": tuned}, threads=CORES)
        ]
        for tuned in (False, True)
        for workers in (0, CORES)
    }
    float32: list[Process] = []
    try:
        kind = ours[0].ask("products")[0] if start(ours) else ""
        if kind == "bfloat16":
            float32 += [
                Process(common | {"kind": "ours", "seed": seed, "precision": "float32"}) for seed in range(CORES)
            ]
        start([*float32, *(process for rival in rivals.values() for process in rival)])
        for processes in (ours, *rivals.values(), *([float32] if float32 else [])):
            rate(processes)  # warms up
        # before a turn, which holds the maps of all convolutions at once
        used = [*together(ours, "evaluate"), *together(ours, "resident")][CORES:] if size == "cifar" else []
        taken = [turn(ours, rivals, float32, kind) for _ in range(turns)]
    finally:
        for process in [*ours, *float32, *(process for rival in rivals.values() for process in rival)]:
            process.end()
    rows = [against_conventional(size, taken, goal), against_tuned(taken, kind), against_float32(taken)]
    return rows + ([against_products(taken, kind), memory(used)] if size == "cifar" else [])


def turn(ours: list[Process], rivals: dict[Variant, list[Process]], float32: list[Process], kind: str) -> Turn:
    product = sum(together(ours, f"matrix_rate {kind}"))
    return Turn(
        rate(ours),
        {variant: rate(rival) for variant, rival in rivals.items()},
        rate(float32) if float32 else None,
        sum(together(ours, f"convolutions {TURN_SECONDS}")),
        product,
    )


def against(taken: list[Turn], *, tuned: bool) -> tuple[str, dict[str, float]]:
    """Our rate over that of the conventional recipe with the number of workers that suits it best."""
    workers = max((0, CORES), key=lambda workers: statistics.median(one.rivals[tuned, workers] for one in taken))
    ratio = statistics.median(one.ours / one.rivals[tuned, workers] for one in taken)
    alone = statistics.median(one.convolutions / one.rivals[tuned, workers] for one in taken)
    mine = statistics.median(one.ours for one in taken)
    theirs = statistics.median(one.rivals[tuned, workers] for one in taken)
    measured = (
        f"{ratio:.2f} x ({mine:.0f} against {theirs:.0f} images/s, {workers} workers; "
        f"steps of nothing but our convolutions {alone:.2f} x)"
    )
    figures = {"ratio": ratio, "images_per_second": mine, "conventional": theirs, "workers": float(workers)}
    return measured, figures | {"limit": alone}


def against_conventional(size: str, taken: list[Turn], goal: float) -> Row:
    side, _, depth, batch, _ = SIZES[size]
    measured, figures = against(taken, tuned=False)
    what = f"ResNet{depth}, {side}x{side}, batch {batch}: against the conventional recipe"
    return Row(what, f">= {goal} x", measured, figures["ratio"] >= goal, figures)


def against_tuned(taken: list[Turn], kind: str) -> Row:
    """Without a goal: what is left of the ratio where the other side knows the two settings that a processor likes."""
    measured, figures = against(taken, tuned=True)
    return Row(f"the same: against it in {kind} and channels_last, as ours", "", measured, None, figures)


def against_float32(taken: list[Turn]) -> Row:
    what = "the same: bfloat16 against float32, both ours"
    ratios = [one.ours / one.other_type for one in taken if one.other_type]
    if not ratios:
        return Row(what, "", "auto is float32: no fast bfloat16 units here", None, {})
    ratio, slower = statistics.median(ratios), statistics.median(one.other_type for one in taken if one.other_type)
    return Row(what, "", f"{ratio:.2f} x ({slower:.0f} images/s in float32)", None, {"ratio": ratio, "float32": slower})


def against_products(taken: list[Turn], kind: str) -> Row:
    work = flops("cifar") / 1e9
    share = 100 * statistics.median(work * one.ours / one.product for one in taken)
    mine, own = work * statistics.median(one.ours for one in taken), statistics.median(one.product for one in taken)
    measured = f"{share:.0f} % ({mine:.0f} of {own:.0f} GFLOP/s in {kind})"
    figures = {"percent": share, "gflops": mine, "matrix_product": own}
    return Row("the same against this machine's matrix product", ">= 50 %", measured, share >= 50, figures)


def memory(used: list[dict[str, float]]) -> Row:
    peak, shared = max(one["peak"] for one in used), max(one["proportional"] for one in used)
    files = max(one["file-backed"] for one in used)
    measured = f"{peak / 1024:.2f} GiB (of it {files:.0f} MiB files; {shared:.0f} MiB with shared pages divided)"
    figures = {"peak_mib": peak, "file_backed_mib": files, "proportional_mib": shared}
    what = "memory of a training with its evaluation, 32x32, batch 128"
    return Row(what, "<= 1.2 GiB", measured, peak <= 1.2 * 1024, figures)


def tickets(folder: Path, *, turns: int) -> list[Row]:
    """Processor time of steps without 3 and 6 blocks over that of the whole network, beside the ratio of MACs."""
    process = Process({"kind": "ours", "size": "cifar", "folder": str(folder), "seed": 0, "epochs": 200})
    try:
        start([process])
        # a step each, so that what disturbs one disturbs the others
        taken = [{removed: process.ask(f"steps {removed} 1")[1] for removed in REMOVED} for _ in range(turns + 2)][2:]
    finally:
        process.end()
    return [ticket(removed, taken) for removed in REMOVED if removed]


def ticket(removed: int, taken: list[dict[int, float]]) -> Row:
    ratio = statistics.median(turn[removed] / turn[0] for turn in taken)
    expected = flops("cifar", removed) / flops("cifar")
    off = 100 * (ratio / expected - 1)
    measured = f"{off:+.1f} % (time {ratio:.3f}, MACs {expected:.3f} of the dense network's)"
    figures = {"percent_off": off, "time_ratio": ratio, "macs_ratio": expected}
    return Row(f"a ticket's time, {removed} of 15 blocks removed", "within 5 %", measured, abs(off) <= 5, figures)


def accuracy(size: str, folder: Path, seeds: Sequence[int]) -> Row:
    """Test accuracy of both recipes over the seeds, the same epochs from the same weights."""
    sides = {"ours": {"kind": "ours"}, "conventional": {"kind": "conventional", "workers": 0}}
    mine, theirs = accuracies(size, folder, seeds, sides).values()
    spread = max(map(statistics.stdev, (mine, theirs)))
    what = f"{size}: test accuracy over {len(seeds)} seeds after {EPOCHS[size]} epochs"
    means = statistics.mean(mine), statistics.mean(theirs)
    measured = f"{means[0]:.2f} % against {means[1]:.2f} % (deviation over seeds {spread:.2f})"
    figures = {"ours": means[0], "conventional": means[1], "deviation": spread}
    return Row(what, "at most 0.5 pp lower", measured, means[0] >= means[1] - 0.5, figures)


def types(size: str, folder: Path, seeds: Sequence[int]) -> Row:
    """Test accuracy in bfloat16 beside float32: the same weights, images, order and steps, seed by seed."""
    sides = {precision: {"kind": "ours", "precision": precision} for precision in ("bfloat16", "float32")}
    reduced, whole = accuracies(size, folder, seeds, sides).values()
    difference = statistics.mean(reduced) - statistics.mean(whole)
    error = statistics.stdev(a - b for a, b in zip(reduced, whole, strict=True)) / len(seeds) ** 0.5
    what = f"{size}: test accuracy in bfloat16 against float32, {len(seeds)} seeds, {EPOCHS[size]} epochs"
    measured = f"{difference:+.2f} pp, standard error {error:.2f} ({statistics.mean(whole):.2f} % in float32)"
    figures = {"difference": difference, "standard_error": error, "float32": statistics.mean(whole)}
    return Row(what, "within 0.5 pp", measured, abs(difference) <= 0.5, figures)


def accuracies(
    size: str, folder: Path, seeds: Sequence[int], sides: dict[str, dict[str, Any]]
) -> dict[str, list[float]]:
    """Test accuracy (percent) of each side, a whole training for every seed."""
    found: dict[str, list[float]] = {name: [] for name in sides}
    common = {"size": size, "folder": str(folder), "epochs": EPOCHS[size]} | (
        {"count": 5120} if size == "cifar" else {}
    )
    for seed in seeds:
        for name, options in sides.items():
            # alone on the machine, so both may have all cores
            process = Process(common | {"seed": seed} | options, threads=CORES)
            try:
                start([process])
                found[name].append(process.ask("whole")[0])
            finally:
                process.end()
            print(f"{size} seed {seed} {name}: {found[name][-1]:.2f} %", flush=True)
    return found


def noise(folder: Path) -> Path:
    """Arrays of CIFAR-10's shape."""
    import numpy as np

    generator = np.random.default_rng(0)
    for name, count in (("train", TRAIN), ("test", TEST)):
        np.save(folder / f"{name}_images.npy", generator.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8))
        np.save(folder / f"{name}_labels.npy", generator.integers(0, 10, count))
    return folder


def image_folders(scratch: Path, data: Path | None) -> dict[str, Path]:
    """Folders with the arrays of both sizes, by name."""
    from layerlottery.config.data import Digits, ParquetImages
    from layerlottery.data.prepare import prepare

    folders = {size: scratch / size for size in SIZES}
    for folder in folders.values():
        folder.mkdir()
    prepare(Digits(source="digits"), folders["digits"])
    if data is None:
        noise(folders["cifar"])
    else:
        prepare(ParquetImages(source="parquet", location=str(data)), folders["cifar"])
    return folders


def measure(given: argparse.Namespace, folders: dict[str, Path]) -> list[Row]:
    if given.accuracy:
        compare = {"recipes": accuracy, "types": types}[given.accuracy]
        sizes = [size for size in SIZES if size == "digits" or given.data]
        return show([compare(size, folders[size], range(given.seeds)) for size in sizes])
    rows: list[Row] = []
    for part in given.parts:
        rows += show(PARTS[part](folders, given.turns))
    return rows


PARTS: dict[str, Callable[[dict[str, Path], int], list[Row]]] = {
    "cifar": lambda folders, turns: speed("cifar", folders["cifar"], turns=turns, goal=2.5),
    "digits": lambda folders, turns: speed("digits", folders["digits"], turns=turns, goal=4),
    "tickets": lambda folders, turns: tickets(folders["cifar"], turns=5 * turns),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="folder with train.parquet and test.parquet of CIFAR-10")
    parser.add_argument("--turns", type=int, default=3, help="times that both sides are measured")
    parser.add_argument(
        "--accuracy",
        nargs="?",
        const="recipes",
        choices=("recipes", "types"),
        help="accuracy instead of speed, of both recipes or of bfloat16 and float32; CIFAR-10 only with --data",
    )
    parser.add_argument("--seeds", type=int, default=3, help="of the accuracy")
    parser.add_argument("--output", type=Path, help="write the rows as JSON, too")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if (load := os.getloadavg()[0]) > 0.3 * CORES:
        print(f"load {load:.1f}: if others use this machine, what follows is too good for us")
    with tempfile.TemporaryDirectory() as scratch:
        rows = measure(given, image_folders(Path(scratch), given.data))
    if given.output:
        given.output.write_text(json.dumps([vars(row) for row in rows], indent=2) + "\n")


if __name__ == "__main__":
    main()
