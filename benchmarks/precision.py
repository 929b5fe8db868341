"""What bfloat16 would change where nothing is trained: the order of blocks, and the answers of trained networks.

    python benchmarks/precision.py scoring --seeds 5
    python benchmarks/precision.py evaluation --seeds 5

ResNet20 on the digits, the pipeline's own functions under autocast beside the same in float32. The control is float32
itself where only rounding differs: the same images in another order. Where a processor has no units for bfloat16, their
rounding is imitated (rounding.py).
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from rounding import rounded
from training_recipes import trainer_of

from layerlottery.config.criteria import CRITERIA
from layerlottery.config.data import Digits
from layerlottery.config.networks import NetworkSettings
from layerlottery.config.training import TrainingSettings
from layerlottery.criteria.score import paper_blocks, rank_blocks, scoring_batch
from layerlottery.data.batches import Normalizer
from layerlottery.data.embedded import load_mnist
from layerlottery.data.feed import Resident
from layerlottery.data.prepare import prepare
from layerlottery.data.prepared import PreparedSet
from layerlottery.evaluation.calibration import calibration
from layerlottery.evaluation.detection import SCORES, detection
from layerlottery.evaluation.forward import evaluate_logits
from layerlottery.networks.predictor import Predictor, fold
from layerlottery.networks.resnet import CifarResNet, initialize
from layerlottery.training.checkpoint import Progress
from layerlottery.training.loop import TrainingData

CPU = torch.device("cpu")
RECIPE = TrainingSettings(epochs=7, batch_size=64, schedule="onecycle", weight_decay=5e-4, crop=1, precision="float32")
OUTLIERS = 500
Logits = np.ndarray[Any, Any]


def network(seed: int) -> CifarResNet:
    model = CifarResNet(NetworkSettings(depth=20), channels=1, classes=10)
    initialize(model, seed)
    return model


@contextmanager
def reduced() -> Iterator[None]:
    with rounded(), torch.autocast("cpu", dtype=torch.bfloat16):
        yield


def scoring(prepared: PreparedSet, seeds: int) -> None:
    """Of each criterion: in how many networks the order of blocks differs, and the first block that goes."""
    print("| criterion | order differs | first block differs | control: order differs |\n|---|---|---|---|")
    total = [0, 0, 0]
    used = [name for name, one in CRITERIA.items() if one.formula.needs in ("forward", "gradient")]
    for name in used:
        counts = [0, 0, 0]
        for seed in range(seeds):
            model, (images, labels) = network(seed), scoring_batch(prepared, 10, seed=seed, device=CPU)
            blocks = paper_blocks(model, (images, labels))
            turned = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
            whole = order(model, (images, labels), name, blocks)
            other = order(model, (images[turned], labels[turned]), name, blocks)
            with reduced():
                rounded = order(model, (images, labels), name, blocks)
            counts = [
                count + differs
                for count, differs in zip(
                    counts, (whole != rounded, whole[0] != rounded[0], whole != other), strict=True
                )
            ]
        print(f"| {name} | " + " | ".join(f"{count} of {seeds}" for count in counts) + " |", flush=True)
        total = [one + count for one, count in zip(total, counts, strict=True)]
    print("| all | " + " | ".join(f"{count} of {seeds * len(used)}" for count in total) + " |", flush=True)


def order(model: torch.nn.Module, batch: Any, name: str, blocks: Any) -> list[str]:
    """Names of the removable blocks, the first to go first."""
    score = rank_blocks(model, batch, CRITERIA[name], seed=0, blocks=blocks).score
    return sorted(score, key=lambda block: score[block])


def evaluation(prepared: PreparedSet, seeds: int) -> None:
    """Of trained networks: answers that differ, and what becomes of accuracy, calibration and detection."""
    rows: list[dict[str, float]] = []
    for seed in range(seeds):
        predictor = trained(prepared, seed)
        sets = {"clean": prepared.split("test"), "mnist": load_mnist()}
        rows.append({"seed": seed} | dict(compared(predictor, sets)))
        print(", ".join(f"{name} {value:.3f}" for name, value in rows[-1].items()), flush=True)
    for name in list(rows[0])[1:]:
        values = [row[name] for row in rows]
        print(f"| {name} | mean {statistics.mean(values):.3f} | largest {max(values, key=abs):.3f} |")


def trained(prepared: PreparedSet, seed: int) -> Predictor:
    normalize = Normalizer(prepared.mean, prepared.std, device=CPU, channels_last=True)
    splits = [prepared.split(name) for name in ("train", "test")]
    train, test = (Resident(*(torch.from_numpy(np.array(part)) for part in (one.images, one.labels))) for one in splits)
    data = TrainingData(train, test, normalize)
    trainer = trainer_of(network(seed), data, RECIPE, seed)
    trainer.run(Progress())
    predictor = Predictor(fold(trainer.model), prepared.mean, prepared.std).to(memory_format=torch.channels_last)
    return predictor.eval().requires_grad_(False)


def compared(predictor: Predictor, sets: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """Differences of bfloat16 from float32, in percent and percentage points; the control has other batches."""
    noise = np.random.default_rng(0).integers(0, 256, (OUTLIERS, 1, 8, 8), dtype=np.uint8)
    told: dict[str, dict[str, Logits]] = {name: answers(predictor, split.images) for name, split in sets.items()}
    for name, held in told.items():
        measures = (("accuracy", accuracy), ("ECE", ece))
        for way in ("bfloat16", "control"):
            whole, other = held["float32"], held[way]
            yield f"{name} {way}: answers that differ, %", 100 * float(np.mean(whole.argmax(1) != other.argmax(1)))
            for measure, of in measures:
                yield (
                    f"{name} {way}: {measure}, pp",
                    100 * (of(other, sets[name].labels) - of(whole, sets[name].labels)),
                )
    strange = answers(predictor, noise)
    for score in ("msp", "energy"):
        for way in ("bfloat16", "control"):
            found: dict[str, Any] = {
                kind: detection(SCORES[score](told["clean"][kind]), SCORES[score](strange[kind])) for kind in strange
            }
            yield f"{score} {way}: AUROC, pp", 100 * (found[way].auroc - found["float32"].auroc)
            yield f"{score} {way}: FPR95, pp", 100 * (found[way].fpr95 - found["float32"].fpr95)


def accuracy(logits: Logits, labels: Any) -> float:
    return float(np.mean(logits.argmax(1) == labels))


def ece(logits: Logits, labels: Any) -> float:
    return calibration(logits.astype(np.float64), labels, 15).ece


def answers(predictor: Predictor, images: Any) -> dict[str, Logits]:
    """Logits in float32, the same in batches of another size, and in bfloat16."""
    found = {
        "float32": evaluate_logits(predictor, images, CPU),
        "control": evaluate_logits(predictor, images, CPU, batch_size=37),
    }
    with reduced():
        return found | {"bfloat16": evaluate_logits(predictor, images, CPU)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("part", choices=("scoring", "evaluation"))
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        prepare(Digits(source="digits"), Path(folder))
        prepared = PreparedSet.open(Path(folder) / "facts.json")
        {"scoring": scoring, "evaluation": evaluation}[given.part](prepared, given.seeds)


if __name__ == "__main__":
    main()
