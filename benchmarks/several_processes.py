"""How one training grows with its processes, as `resources: {gpus_per_training: N}` runs it: here on cores, by gloo.

    python benchmarks/several_processes.py --output several_processes.json

The same training of ResNet20 on the embedded digits by one process and by several, a thread each, in turns; medians
of the images a second that the trainings themselves report, without their start. It measures what exchanging gradients
and statistics takes on this machine's cores. Speed on GPUs is not measured by it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from dataclasses import asdict
from pathlib import Path

from rows import Row, show

EPOCHS, IMAGES = 2, 1024
GOAL = 1.0


def speed(folder: Path, *, processes: int, batch: int) -> float:
    """Images a second of one training."""
    import torch

    from layerlottery.config.training import TrainingSettings
    from layerlottery.training.train import train

    torch.set_num_threads(1)
    settings = TrainingSettings(epochs=EPOCHS, batch_size=batch, schedule="cosine", crop=1)
    files = folder / "initial.safetensors", folder / "facts.json", folder / f"{processes}-{batch}"
    cpu = torch.device("cpu")
    facts = train(*files, settings, seed=0, device=cpu, others=[cpu] * (processes - 1))
    return float(facts["images_per_second"])


def growth(folder: Path, *, processes: int, batch: int, turns: int) -> Row:
    """Speed of several processes over that of one."""
    ratios, alone = [], []
    for _ in range(turns):
        alone.append(speed(folder, processes=1, batch=batch))
        ratios.append(speed(folder, processes=processes, batch=batch) / alone[-1])
    ratio = statistics.median(ratios)
    what = f"one training, {processes} processes against 1, batches of {batch} images of 8×8"
    measured = f"{ratio:.2f} × ({min(ratios):.2f} to {max(ratios):.2f}); one: {statistics.median(alone):.0f} images/s"
    return Row(what, f"more than {GOAL:g} ×", measured, ratio > GOAL, {"ratio": ratio, "processes": processes})


def main() -> None:
    from layerlottery.config.data import Digits
    from layerlottery.config.networks import NetworkSettings
    from layerlottery.data.prepare import prepare
    from layerlottery.networks.initialize import initialize_network

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--processes", type=int, nargs="+", default=[2])
    parser.add_argument("--batches", type=int, nargs="+", default=[128, 512])
    parser.add_argument("--turns", type=int, default=3, help="times that both sides are measured")
    parser.add_argument("--output", type=Path, help="write the rows as JSON, too")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        prepare(Digits(source="digits", train_size=IMAGES), folder)
        initialize_network(folder / "facts.json", folder / "initial.safetensors", NetworkSettings(depth=20), seed=0)
        rows = [
            growth(folder, processes=processes, batch=batch, turns=given.turns)
            for processes in given.processes
            for batch in given.batches
        ]
    show(rows)
    if given.output:
        given.output.write_text(json.dumps([asdict(row) for row in rows], indent=2))


if __name__ == "__main__":
    main()
