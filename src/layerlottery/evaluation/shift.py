"""Stage shift: accuracy, calibration and outlier detection on clean, shifted and corrupted images, in one process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from layerlottery.config.evaluation import ShiftSettings
from layerlottery.config.provenance import config_hash
from layerlottery.data.prepared import Images, Labels, PreparedSet, Split, Stored
from layerlottery.errors import LayerLotteryError
from layerlottery.evaluation.calibration import calibration, fit_temperature
from layerlottery.evaluation.conditions import RobustnessRow, kept, list_of, predicted, table_of, write_conditions
from layerlottery.evaluation.detection import SCORES, Detection, detection
from layerlottery.evaluation.forward import evaluate_logits, right
from layerlottery.networks.predictor import load_predictor
from layerlottery.store import artifacts
from layerlottery.store.arrays import read_array
from layerlottery.store.chain import Chain

Logits = npt.NDArray[np.float32]
Predict = Callable[[Stored], Logits]
Facts = Mapping[str, Any]

CORRUPTED = ("conditions", "labels", "indices", "clean", "origin", "array")
OUTLIERS = ("sets", "array")
COLUMNS = ("outliers", "distance", "score", *(field.name for field in fields(Detection)), "in_images", "out_images")


class Answers(NamedTuple):
    """A network's logits (N, classes) for the images of one condition."""

    kind: str
    name: str
    level: float
    logits: Logits
    labels: Labels
    images: str  # the hash of their list
    origin: str | None = None


def shift(
    weights: Path,
    data: Path,
    corrupted_images: Path,
    corrupted_facts: Path,
    output: Path,
    settings: ShiftSettings,
    *,
    device: torch.device,
    outlier_images: Path,
    outlier_facts: Path,
    output_detection: Path,
) -> None:
    """Evaluate one network: to `output` a row for every condition, to `output_detection` one for every outlier score.

    `data` is the facts file of a prepared set, `corrupted_*` come from the corrupt stage, `outlier_*` from the
    stage outliers. Raises LayerLotteryError when they were made from another set.
    """
    prepared, chain = PreparedSet.open(data), Chain()
    chain.set("shift", settings.slice())
    chain.add(data, prepared.content)
    corruptions = _facts_of(corrupted_facts, "corrupt", CORRUPTED, data, prepared, chain)
    outliers = _facts_of(outlier_facts, "outliers", OUTLIERS, data, prepared, chain)
    model, facts = load_predictor(weights, prepared, device)
    chain.add(weights, facts["content"], facts["stamp"])
    predict = partial(evaluate_logits, model, device=device)
    test = prepared.split("test")
    every = list_of(prepared.content, "test", np.arange(len(test)))
    clean = Answers("clean", "clean", 0, predict(test.images), test.labels, every)
    temperature = held_out_temperature(predict, prepared.split("held_out"))
    rows = [
        condition(answers, temperature, bins=settings.calibration_bins)
        for answers in _every_condition(predict, prepared, clean, corrupted_images, corruptions)
    ]
    told = detections(predict, clean.logits, read_array(outlier_images, outliers["array"]), outliers)
    network = [facts["content"], prepared.content]

    def made_by(other: Facts) -> str:
        return config_hash("shift", settings, [*network, other["config_hash"], other["array"]])

    artifacts.write_table(output_detection, told, config_hash=made_by(outliers), inputs=chain.inputs)
    write_conditions(output, rows, config_hash=made_by(corruptions), inputs=chain.inputs)


def held_out_temperature(predict: Predict, held_out: Split) -> float | None:
    """The temperature that fits training images which no training saw; None if there are none."""
    return fit_temperature(predict(held_out.images), held_out.labels) if len(held_out) else None


def condition(answers: Answers, temperature: float | None, *, bins: int) -> RobustnessRow:
    """One row: accuracy and calibration, and what `temperature` makes of the latter."""
    logits, labels = answers.logits.astype(np.float64), answers.labels
    trust: dict[str, Any] = asdict(calibration(logits, labels, bins))
    if temperature is not None:
        scaled = asdict(calibration(logits / temperature, labels, bins))
        trust |= {f"{name}_scaled": value for name, value in scaled.items()}
    if (answers.kind, answers.name) == ("clean", "clean"):
        trust |= {"temperature": temperature, "predicted": predicted(logits)}
    found = right(logits, labels)
    trust |= kept(found, answers.images)
    place = (answers.kind, answers.name, answers.level, 100 * float(np.mean(found)), len(labels))
    return RobustnessRow(*place, answers.origin, **trust)


def detections(predict: Predict, clean: Logits, images: Images, facts: Facts) -> pa.Table:
    """A row for every set of outliers and score, all told from the same answers to clean test images (N, classes)."""
    inside = {name: score(clean) for name, score in SCORES.items()}
    rows = []
    for held in facts["sets"]:
        logits = predict(images[held["start"] : held["end"]])
        place = {"outliers": held["name"], "distance": held["distance"]}
        counts = {"in_images": len(clean), "out_images": len(logits)}
        for name, score in SCORES.items():
            rows.append(place | {"score": name} | asdict(detection(inside[name], score(logits))) | counts)
    return table_of("detection", rows, COLUMNS)


def _every_condition(
    predict: Predict, prepared: PreparedSet, clean: Answers, corrupted_images: Path, corruptions: Facts
) -> Iterator[Answers]:
    yield clean
    labels = np.array(corruptions["labels"], dtype=np.int64)
    # published sets that are not the test set's images have places of their own
    part, indices = "test" if corruptions["clean"] else "corrupted", np.array(corruptions["indices"])
    listed = list_of(prepared.content, part, indices)
    if corruptions["clean"]:
        yield Answers("clean", "corrupted images", 0, clean.logits[indices], labels, listed)
    for name, split in prepared.shifted().items():
        whole = list_of(prepared.content, f"shifted {name}", np.arange(len(split)))
        yield Answers("shift", name, 0, predict(split.images), split.labels, whole)
    array = read_array(corrupted_images, corruptions["array"])
    for (name, severity), images in zip(corruptions["conditions"], array, strict=True):
        yield Answers("corruption", name, severity, predict(images), labels, listed, corruptions["origin"])


def _facts_of(
    path: Path, stage: str, needed: tuple[str, ...], data: Path, prepared: PreparedSet, chain: Chain
) -> dict[str, Any]:
    facts, stamp = artifacts.read_stamped(path)
    if facts.get("data") != prepared.content:
        raise LayerLotteryError(f"{path}: not made from the image set {data}; run the {stage} stage on it")
    if missing := [name for name in needed if name not in facts]:
        raise LayerLotteryError(f"{path}: {', '.join(missing)} missing; run the {stage} stage again")
    chain.add(path, stamp.content, stamp)
    return facts | {"config_hash": stamp.config_hash}
