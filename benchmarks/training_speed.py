"""Training beside a conventional PyTorch recipe on all cores of this machine: goal and measured, side by side.

    python benchmarks/training_speed.py --output training_speed.json
    python benchmarks/training_speed.py --data folder/of/cifar10/parquet
    python benchmarks/training_speed.py --accuracy

Ours are as many one-thread processes as cores; the conventional recipe (DataLoader, torchvision transforms image by
image, float32 eager, torch.optim.SGD) is one process with a thread a core, without and with worker processes, of which
the faster counts. All processes start first and wait; then both sides take turns, a few steps each, and the median of
the turns' ratios counts. Without --data images are noise. Needs a machine that nobody else uses.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CORES = len(os.sched_getaffinity(0))
SEEDS = (0, 1, 2)
MIB = 2**20
# what one process runs: images a side, channels, depth, batch size, steps a turn
SIZES = {"cifar": (32, 3, 32, 128, 4), "digits": (8, 1, 20, 64, 40)}
TRAIN, TEST = 50_000, 10_000
# of every stage as many, so that parameters, memory and MACs go in equal shares
REMOVED = {0: [], 3: ["stage1.1", "stage2.1", "stage3.1"]}
REMOVED[6] = [*REMOVED[3], "stage1.2", "stage2.2", "stage3.2"]
EPOCHS = {"cifar": 6, "digits": 7}


def settings_of(size: str, *, epochs: int) -> Any:
    from layerlottery.settings import TrainingSettings

    if size == "cifar":
        return TrainingSettings(epochs=epochs, schedule="onecycle", weight_decay=5e-4)
    return TrainingSettings(epochs=epochs, batch_size=64, schedule="onecycle", weight_decay=5e-4, crop=1, flip=False)


def network_of(size: str, *, seed: int, removed: int = 0) -> Any:
    from layerlottery.networks.blocks import remove_blocks
    from layerlottery.networks.resnet import CifarResNet, initialize
    from layerlottery.settings import NetworkSettings

    _, channels, depth, _, _ = SIZES[size]
    model = CifarResNet(NetworkSettings(depth=depth), channels=channels, classes=10)
    initialize(model, seed)
    return remove_blocks(model, REMOVED[removed])


def arrays_of(folder: Path, count: int | None) -> list[Any]:
    """Images and labels of both splits, memory-mapped; the first `count` training images."""
    import numpy as np

    names = ("train_images", "train_labels", "test_images", "test_labels")
    held = [np.load(folder / f"{name}.npy", mmap_mode="r") for name in names]
    return [held[0][:count], held[1][:count], held[2], held[3]]


class Ours:
    """One training of the package, in a process of its own."""

    def __init__(self, size: str, folder: Path, *, seed: int, epochs: int, count: int | None = None) -> None:
        import warnings

        import torch

        from layerlottery.data.batches import Normalizer, epoch_order
        from layerlottery.training.loop import TrainingData

        # memory-mapped arrays cannot be written to, and nobody does
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        self.size, self.settings, self.seed = size, settings_of(size, epochs=epochs), seed
        normalize = Normalizer(*statistics_of(size), device=torch.device("cpu"), channels_last=True)
        self.data = TrainingData(*map(torch.from_numpy, arrays_of(folder, count)), normalize)
        self.trainers = {0: self.trainer(0)}
        order = epoch_order(len(self.data.train_labels), seed=seed, epoch=0)
        self.batches = [batch for batch in order.split(self.settings.batch_size)][: SIZES[size][4]]

    def trainer(self, removed: int) -> Any:
        import torch

        from layerlottery.training.kernels import accelerate
        from layerlottery.training.loop import StopFlag, Trainer
        from layerlottery.training.recipe import make_optimizer

        model = network_of(self.size, seed=self.seed, removed=removed).to(memory_format=torch.channels_last)
        optimizer = make_optimizer(accelerate(model), self.settings)
        return Trainer(model, optimizer, self.data, self.settings, self.seed, lambda progress: None, StopFlag())

    def steps(self, removed: int = 0) -> int:
        """Some steps of a training; returns the number of images."""
        if removed not in self.trainers:
            self.trainers[removed] = self.trainer(removed)
        trainer = self.trainers[removed]
        trainer.model.train()
        for number, chosen in enumerate(self.batches):
            trainer._step(chosen, 0, number)
        return sum(map(len, self.batches))

    def whole(self) -> float:
        """All epochs; returns test accuracy in percent."""
        from layerlottery.training.checkpoint import Progress

        progress = Progress()
        self.trainers[0].run(progress)
        return float(progress.curve[-1]["test_accuracy"])


class Conventional:
    """The same network and hyper-parameters as most people would write it."""

    def __init__(
        self, size: str, folder: Path, *, seed: int, epochs: int, workers: int, count: int | None = None
    ) -> None:
        import torch
        from torchvision import transforms

        self.size, self.settings = size, settings_of(size, epochs=epochs)
        train_images, train_labels, *self.test = arrays_of(folder, count)
        normalize = [transforms.ToTensor(), transforms.Normalize(*statistics_of(size))]
        moves = [transforms.RandomCrop(SIZES[size][0], self.settings.crop)]
        moves += [transforms.RandomHorizontalFlip()] if self.settings.flip else []
        self.plain = transforms.Compose(normalize)
        torch.manual_seed(seed)
        self.model = network_of(size, seed=seed)
        chosen = self.settings
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=chosen.weight_decay
        )
        images = Pictures(train_images, train_labels, transforms.Compose([*moves, *normalize]))
        self.loader = torch.utils.data.DataLoader(
            images, batch_size=chosen.batch_size, shuffle=True, num_workers=workers, persistent_workers=workers > 0
        )
        self.scheduler = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, chosen.learning_rate, epochs * len(self.loader), pct_start=0.25, cycle_momentum=False
        )
        self.endless = self.batches()

    def batches(self) -> Iterator[Any]:
        while True:
            yield from self.loader

    def step(self, images: Any, labels: Any) -> int:
        from torch.nn import functional as F

        self.optimizer.zero_grad()
        F.cross_entropy(self.model(images), labels).backward()
        self.optimizer.step()
        return len(labels)

    def steps(self, removed: int = 0) -> int:
        self.model.train()
        return sum(self.step(*next(self.endless)) for _ in range(SIZES[self.size][4]))

    def whole(self) -> float:
        import torch

        for _ in range(self.settings.epochs):
            self.model.train()
            for images, labels in self.loader:
                self.step(images, labels)
                self.scheduler.step()
        self.model.eval()
        with torch.no_grad():
            test = torch.utils.data.DataLoader(Pictures(*self.test, self.plain), batch_size=500)
            hits = sum(int((self.model(images).argmax(1) == labels).sum()) for images, labels in test)
        return 100 * hits / len(self.test[1])


@dataclass
class Pictures:
    """A dataset of PIL images, transformed one by one."""

    images: Any
    labels: Any
    transform: Callable[[Any], Any]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        from PIL import Image

        image = self.images[index].transpose(1, 2, 0)
        return self.transform(Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)), self.labels[index]


def statistics_of(size: str) -> tuple[list[float], list[float]]:
    channels = SIZES[size][1]
    return [0.5] * channels, [0.25] * channels


def matrix_rate() -> float:
    """GFLOP/s of a large matrix product on one core in the type that a training computes in, the best of some."""
    import torch

    from layerlottery.settings import TrainingSettings
    from layerlottery.training.recipe import compute_type

    size, seconds = 1024, []
    factor = torch.ones(size, size, dtype=compute_type(TrainingSettings(), torch.device("cpu")))
    for _ in range(30):
        began = time.perf_counter()
        factor @ factor
        seconds.append(time.perf_counter() - began)
    return 2 * size**3 / min(seconds) / 1e9


def resident() -> dict[str, float]:
    """MiB of this process: all, at most so far, and with shared pages counted as a share."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    rollup = Path("/proc/self/smaps_rollup").read_text()
    share = next(line for line in rollup.splitlines() if line.startswith("Pss:"))
    return {
        "peak": int(status["VmHWM"].split()[0]) / 1024,
        "file-backed": int(status["RssFile"].split()[0]) / 1024,
        "proportional": int(share.split()[1]) / 1024,
    }


def serve(options: dict[str, Any]) -> None:
    """A process that does what it is told, one line at a time, until its input ends."""
    import torch

    # the answers' own; all else that is printed goes to the error stream
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    kind = {"ours": Ours, "conventional": Conventional}[options.pop("kind")]
    subject = kind(options.pop("size"), Path(options.pop("folder")), **options)
    commands = {"matrix_rate": matrix_rate, "resident": resident, "steps": subject.steps, "whole": subject.whole}
    commands["evaluate"] = lambda: subject.trainers[0].evaluate()[1]
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        name, *arguments = line.split()
        began = time.perf_counter()
        result = commands[name](*map(int, arguments))
        print(json.dumps([result, time.perf_counter() - began]), file=answers, flush=True)


@dataclass
class Process:
    """The other end of `serve`."""

    options: dict[str, Any]
    threads: int = 1
    child: subprocess.Popen[str] = field(init=False)

    def __post_init__(self) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": str(self.threads)}
        self.child = subprocess.Popen(
            [sys.executable, __file__, "--serve", json.dumps(self.options)],
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


def together(processes: list[Process], command: str) -> tuple[list[Any], float]:
    """What all answer to a command given to all at once, and the seconds until the last."""
    began = time.perf_counter()
    for process in processes:
        process.tell(command)
    results = [process.answer()[0] for process in processes]
    return results, time.perf_counter() - began


def rate(processes: list[Process]) -> float:
    """Training images a second of all the processes together."""
    images, seconds = together(processes, "steps")
    return sum(images) / seconds


@dataclass
class Row:
    """One line of the page: what, the goal and what was measured."""

    what: str
    goal: str
    measured: str
    met: bool
    figures: dict[str, float]


def flops(size: str, removed: int = 0) -> int:
    """Of training on one image: forward, gradient of the weights, and of the maps but for the first layer's."""
    from layerlottery.cost.network import macs

    side, channels = SIZES[size][:2]
    model = network_of(size, seed=0, removed=removed)
    first = macs(model.stem[0], (channels, side, side))
    return 2 * (3 * macs(model, (channels, side, side)) - first)


def speed(size: str, folder: Path, *, turns: int, goal: float) -> list[Row]:
    """Images a second against the conventional recipe, and for the large images against the matrix product."""
    common = {"size": size, "folder": str(folder), "epochs": 200}
    ours = [Process(common | {"kind": "ours", "seed": seed}) for seed in range(CORES)]
    rivals = {
        workers: [Process(common | {"kind": "conventional", "seed": 0, "workers": workers}, threads=CORES)]
        for workers in (0, CORES)
    }
    everybody = [*ours, *(process for rival in rivals.values() for process in rival)]
    try:
        start(everybody)
        for processes in (ours, *rivals.values()):
            rate(processes)  # warms up
        products = sum(together(ours, "matrix_rate")[0])
        taken = [(rate(ours), {w: rate(rival) for w, rival in rivals.items()}) for _ in range(turns)]
        products = max(products, sum(together(ours, "matrix_rate")[0]))
        used = [*together(ours, "evaluate")[0], *together(ours, "resident")[0]][CORES:] if size == "cifar" else []
    finally:
        for process in everybody:
            process.end()
    rows = [against_conventional(size, taken, goal)]
    return rows + ([against_products(taken, products), memory(used)] if size == "cifar" else [])


def against_conventional(size: str, taken: list[tuple[float, dict[int, float]]], goal: float) -> Row:
    workers = max((0, CORES), key=lambda workers: statistics.median(theirs[workers] for _, theirs in taken))
    ratio = statistics.median(mine / theirs[workers] for mine, theirs in taken)
    mine, theirs = statistics.median(m for m, _ in taken), statistics.median(t[workers] for _, t in taken)
    side, _, depth, batch, _ = SIZES[size]
    measured = f"{ratio:.2f} x ({mine:.0f} against {theirs:.0f} images/s, {workers} workers)"
    figures = {"ratio": ratio, "images_per_second": mine, "conventional": theirs, "workers": float(workers)}
    what = f"ResNet{depth}, {side}x{side}, batch {batch}: against the conventional recipe"
    return Row(what, f">= {goal} x", measured, ratio >= goal, figures)


def against_products(taken: list[tuple[float, dict[int, float]]], products: float) -> Row:
    mine = statistics.median(mine for mine, _ in taken) * flops("cifar") / 1e9
    share = 100 * mine / products
    measured = f"{share:.0f} % ({mine:.0f} of {products:.0f} GFLOP/s)"
    figures = {"percent": share, "gflops": mine, "matrix_product": products}
    return Row("the same against this machine's matrix product", ">= 50 %", measured, share >= 50, figures)


def memory(used: list[dict[str, float]]) -> Row:
    peak, shared = max(one["peak"] for one in used), max(one["proportional"] for one in used)
    files = max(one["file-backed"] for one in used)
    measured = f"{peak / 1024:.2f} GiB (of it {files:.0f} MiB files; {shared:.0f} MiB with shared pages divided)"
    figures = {"peak_mib": peak, "file_backed_mib": files, "proportional_mib": shared}
    what = "memory of a training with its evaluation, 32x32, batch 128"
    return Row(what, "<= 1.2 GiB", measured, peak <= 1.2 * 1024, figures)


def tickets(folder: Path, *, turns: int) -> list[Row]:
    """Time of a training step without 3 and 6 blocks over that of the whole network, beside the ratio of MACs."""
    process = Process({"kind": "ours", "size": "cifar", "folder": str(folder), "seed": 0, "epochs": 200})
    try:
        start([process])
        taken = [{removed: process.ask(f"steps {removed}")[1] for removed in REMOVED} for _ in range(turns + 1)][1:]
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


def accuracy(size: str, folder: Path) -> Row:
    """Test accuracy of both recipes over the seeds, the same epochs from the same weights."""
    found: dict[str, list[float]] = {"ours": [], "conventional": []}
    common = {"size": size, "folder": str(folder), "epochs": EPOCHS[size]} | (
        {"count": 5120} if size == "cifar" else {}
    )
    for seed in SEEDS:
        for kind, results in found.items():
            extra = {"workers": 0} if kind == "conventional" else {}
            # alone on the machine, so both may have all cores
            process = Process(common | {"kind": kind, "seed": seed} | extra, threads=CORES)
            try:
                start([process])
                results.append(process.ask("whole")[0])
            finally:
                process.end()
            print(f"{size} seed {seed} {kind}: {results[-1]:.2f} %", flush=True)
    mine, theirs = (statistics.mean(results) for results in found.values())
    spread = max(map(statistics.stdev, found.values()))
    what = f"{size}: test accuracy over {len(SEEDS)} seeds after {EPOCHS[size]} epochs"
    measured = f"{mine:.2f} % against {theirs:.2f} % (deviation over seeds {spread:.2f})"
    figures = {"ours": mine, "conventional": theirs, "deviation": spread}
    return Row(what, "within 0.5 pp", measured, mine >= theirs - 0.5, figures)


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
    from layerlottery.data.prepare import prepare
    from layerlottery.settings import Digits, ParquetImages

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
        return [accuracy(size, folders[size]) for size in SIZES if size == "digits" or given.data]
    rows = speed("cifar", folders["cifar"], turns=given.turns, goal=2.2)
    rows += speed("digits", folders["digits"], turns=2 * given.turns, goal=4)
    return rows + tickets(folders["cifar"], turns=2 * given.turns)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="folder with train.parquet and test.parquet of CIFAR-10")
    parser.add_argument("--turns", type=int, default=3, help="times that both sides are measured")
    parser.add_argument("--accuracy", action="store_true", help="accuracy instead of speed; CIFAR-10 only with --data")
    parser.add_argument("--output", type=Path, help="write the rows as JSON, too")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(json.loads(given.serve))
        return
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as scratch:
        rows = measure(given, image_folders(Path(scratch), given.data))
    for row in rows:
        print(f"{row.what} | goal {row.goal} | {row.measured} | {'met' if row.met else 'missed'}")
    if given.output:
        given.output.write_text(json.dumps([vars(row) for row in rows], indent=2) + "\n")


if __name__ == "__main__":
    main()
