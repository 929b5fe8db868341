"""The two sides of training_speed.py, each in a process of its own that does what it is told."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# images a side, channels, depth, batch size, steps a turn
SIZES = {"cifar": (32, 3, 32, 128, 4), "digits": (8, 1, 20, 64, 10)}
# of every stage as many, so that parameters, memory and MACs go in equal shares
REMOVED = {0: [], 3: ["stage1.1", "stage2.1", "stage3.1"]}
REMOVED[6] = [*REMOVED[3], "stage1.2", "stage2.2", "stage3.2"]


def settings_of(size: str, *, epochs: int, precision: str = "auto") -> Any:
    from layerlottery.config.training import TrainingSettings

    small = {} if size == "cifar" else {"batch_size": 64, "crop": 1, "flip": False}
    return TrainingSettings(epochs=epochs, schedule="onecycle", weight_decay=5e-4, precision=precision, **small)


def network_of(size: str, *, seed: int, removed_blocks: int = 0) -> Any:
    from layerlottery.config.networks import NetworkSettings
    from layerlottery.networks.blocks import remove_blocks
    from layerlottery.networks.resnet import CifarResNet, initialize

    _, channels, depth, _, _ = SIZES[size]
    model = CifarResNet(NetworkSettings(depth=depth), channels=channels, classes=10)
    initialize(model, seed)
    return remove_blocks(model, REMOVED[removed_blocks])


def arrays_of(folder: Path, count: int | None) -> list[Any]:
    """Images and labels of both splits, memory-mapped; the first `count` training images."""
    import numpy as np

    names = ("train_images", "train_labels", "test_images", "test_labels")
    held = [np.load(folder / f"{name}.npy", mmap_mode="r") for name in names]
    return [held[0][:count], held[1][:count], held[2], held[3]]


def trainer_of(model: Any, data: Any, settings: Any, seed: int) -> Any:
    """The package's own loop around a network, as the stage train sets it up on a processor."""
    import torch

    from layerlottery.training.kernels import accelerate, keep_freed_memory
    from layerlottery.training.loop import Trainer
    from layerlottery.training.recipe import make_optimizer

    keep_freed_memory()
    model = accelerate(model.to(memory_format=torch.channels_last))
    return Trainer(model, make_optimizer(model, settings), data, settings, seed)


class Ours:
    """One training of the package, in a process of its own."""

    def __init__(
        self, size: str, folder: Path, *, seed: int, epochs: int, count: int | None = None, precision: str = "auto"
    ) -> None:
        import warnings

        import torch

        from layerlottery.data.batches import Normalizer, epoch_order
        from layerlottery.data.feed import Resident
        from layerlottery.training.loop import TrainingData

        # memory-mapped arrays cannot be written to, and nobody does
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        self.size, self.settings, self.seed = size, settings_of(size, epochs=epochs, precision=precision), seed
        normalize = Normalizer(*statistics_of(size), device=torch.device("cpu"), channels_last=True)
        images, labels, test_images, test_labels = map(torch.from_numpy, arrays_of(folder, count))
        self.data = TrainingData(Resident(images, labels), Resident(test_images, test_labels), normalize)
        self.trainers = {0: self.trainer(0)}
        order = epoch_order(len(self.data.train), seed=seed, epoch=0)
        self.batches = list(order.split(self.settings.batch_size))[: SIZES[size][4]]

    def trainer(self, removed_blocks: int) -> Any:
        return trainer_of(
            network_of(self.size, seed=self.seed, removed_blocks=removed_blocks), self.data, self.settings, self.seed
        )

    def steps(self, removed_blocks: int = 0, count: int = 0) -> int:
        """Some steps of a training; returns the number of images."""
        if removed_blocks not in self.trainers:
            self.trainers[removed_blocks] = self.trainer(removed_blocks)
        trainer, batches = self.trainers[removed_blocks], self.batches[: count or None]
        trainer.model.train()
        for number, batch in enumerate(self.data.train.batches(batches)):
            trainer._step(batch, len(batch[1]), 0, number)
        return sum(map(len, batches))

    def convolutions(self, seconds: float) -> float:
        """Images a second if a step were its convolutions and their gradients, and nothing else."""
        import torch

        from layerlottery.networks.resnet import TwoForms
        from layerlottery.training.kernels import accelerate

        fast: Any = accelerate(TwoForms())
        layers = self.layers()
        # the gradient of the images is not needed
        wanted = [layer.weight for layer, _ in layers] + [maps for _, maps in layers[1:]]

        def forward() -> list[Any]:
            with self.trainers[0].autocast:
                return [fast.convolve(one, x) if one.kernel_size == (3, 3) else one(x) for one, x in layers]

        given = [torch.ones_like(maps) for maps in forward()]

        def step() -> int:
            # in one call, as in a step
            torch.autograd.grad(forward(), wanted, given)
            return int(self.settings.batch_size)

        step()
        return lasting(step, seconds)

    def layers(self) -> list[tuple[Any, Any]]:
        """The network's convolutions, each with maps as it gets them in a step."""
        import torch

        model = network_of(self.size, seed=self.seed).to(memory_format=torch.channels_last)
        held: list[tuple[Any, Any]] = []

        def keep(layer: Any, given: Any) -> None:
            held.append((layer, given[0].detach().requires_grad_()))

        for module in model.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.register_forward_pre_hook(keep)
        images = self.data.normalize(next(self.data.train.batches(self.batches[:1]))[0])
        model(images)
        for layer, _ in held:
            layer._forward_pre_hooks.clear()
        return held

    def products(self) -> str:
        """The type that it computes in."""
        from layerlottery.training.precision import products

        return products(self.settings, self.trainers[0].device)

    def whole(self) -> float:
        """All epochs; returns test accuracy in percent."""
        import logging

        from rounding import rounded

        from layerlottery.training.checkpoint import Progress

        progress = Progress()
        # nobody cares how long it takes
        logging.disable(logging.WARNING)
        with rounded():
            self.trainers[0].run(progress)
        return float(progress.curve[-1]["test_accuracy"])


class Conventional:
    """The same network and hyper-parameters as most people would write it; with `tuned`, in our type and layout."""

    def __init__(
        self,
        size: str,
        folder: Path,
        *,
        seed: int,
        epochs: int,
        workers: int,
        count: int | None = None,
        tuned: bool = False,
    ) -> None:
        import torch
        from torchvision import transforms

        from layerlottery.training.precision import products

        self.size, self.settings = size, settings_of(size, epochs=epochs)
        train_images, train_labels, *self.test = arrays_of(folder, count)
        normalize = [transforms.ToTensor(), transforms.Normalize(*statistics_of(size))]
        moves = [transforms.RandomCrop(SIZES[size][0], self.settings.crop)]
        moves += [transforms.RandomHorizontalFlip()] if self.settings.flip else []
        self.plain = transforms.Compose(normalize)
        torch.manual_seed(seed)
        self.layout = torch.channels_last if tuned else torch.contiguous_format
        self.model = network_of(size, seed=seed).to(memory_format=self.layout)
        reduced = tuned and products(self.settings, torch.device("cpu")) == "bfloat16"
        self.autocast = torch.autocast("cpu", dtype=torch.bfloat16, enabled=reduced)
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
        with self.autocast:
            logits = self.model(images.to(memory_format=self.layout))
        F.cross_entropy(logits.float(), labels).backward()
        self.optimizer.step()
        return len(labels)

    def steps(self, removed_blocks: int = 0) -> int:
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
            images, labels = self.test
            test = torch.utils.data.DataLoader(Pictures(images, labels, self.plain), batch_size=500)
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


def matrix_rate(kind: str = "float32", *, seconds: float = 2) -> float:
    """GFLOP/s of large matrix products of a type on one core, for so long."""
    import torch

    size = 1024
    factor = torch.ones(size, size, dtype=getattr(torch, kind))
    return lasting(lambda: 2 * size**3 * len([factor @ factor for _ in range(4)]), seconds) / 1e9


def lasting(work: Callable[[], int], seconds: float) -> float:
    """What `work` returns, a second, while it is done again and again for at least so long."""
    done, began = 0, time.perf_counter()
    while (passed := time.perf_counter() - began) < seconds:
        done += work()
    return done / passed


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
    """A process that does what it is told, one line at a time, until its input ends; adds the processor's seconds."""
    import torch

    # the answers' own; all else that is printed goes to the error stream
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    kind = {"ours": Ours, "conventional": Conventional}[options.pop("kind")]
    subject = kind(options.pop("size"), Path(options.pop("folder")), **options)
    commands = {"matrix_rate": matrix_rate, "resident": resident, "steps": subject.steps, "whole": subject.whole}
    commands["rate"] = lambda seconds: lasting(subject.steps, seconds)
    commands["evaluate"] = lambda: subject.trainers[0].evaluate()[1]
    commands |= {name: getattr(subject, name) for name in ("convolutions", "products") if hasattr(subject, name)}
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        name, *arguments = line.split()
        began = time.process_time()
        result = commands[name](*(int(one) if one.isdecimal() else one for one in arguments))
        print(json.dumps([result, time.process_time() - began]), file=answers, flush=True)


if __name__ == "__main__":
    serve(json.loads(sys.argv[1]))
