"""The commands that make test images and test trained networks. Heavy imports wait until a command needs them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from layerlottery.cli.options import (
    DATA,
    FILE,
    OUTPUT,
    WEIGHTS,
    gather,
    log_option,
    machine_options,
    settings_options,
)
from layerlottery.config.data import OfficialSettings
from layerlottery.config.evaluation import (
    AttackSettings,
    CompareSettings,
    CorruptionSettings,
    EvaluationSettings,
    OutlierSettings,
    ShiftSettings,
)
from layerlottery.runtime.machine import use_machine

DENSE = click.option(
    "--dense",
    type=FILE,
    help="trained weights of the dense network, whose examples are transferred; none: its own",
)
OUTPUT_IMAGES = click.option("--output-images", type=FILE, required=True, help="npy file to write")
OUTPUT_FACTS = click.option("--output-facts", type=FILE, required=True, help="JSON file to write")
CORRUPTED_IMAGES = click.option("--corrupted-images", type=FILE, required=True, help="npy file of the corrupt stage")
CORRUPTED_FACTS = click.option("--corrupted-facts", type=FILE, required=True, help="JSON file of the corrupt stage")
OUTLIER_IMAGES = click.option("--outlier-images", type=FILE, required=True, help="npy file of the outliers stage")
OUTLIER_FACTS = click.option("--outlier-facts", type=FILE, required=True, help="JSON file of the outliers stage")


@click.command()
@settings_options(CorruptionSettings)
@DATA
@OUTPUT_IMAGES
@OUTPUT_FACTS
@click.option("--official", default="{}", metavar="JSON", help="published sets instead: sets, location, download")
@log_option
def corrupt(settings: str, data: Path, output_images: Path, output_facts: Path, official: str, **options: Any) -> None:
    """Corrupt the test images of a set, or take the published ones, once for all networks."""
    from layerlottery.evaluation.corrupt import corrupt as stage

    published = gather(OfficialSettings, official, {})
    stage(data, output_images, output_facts, gather(CorruptionSettings, settings, options), published)


@click.command()
@settings_options(OutlierSettings)
@DATA
@OUTPUT_IMAGES
@OUTPUT_FACTS
@log_option
def outliers(settings: str, data: Path, output_images: Path, output_facts: Path, **options: Any) -> None:
    """Collect images that belong to no class of a set, once for all networks."""
    from layerlottery.evaluation.outliers import outliers as stage

    stage(data, output_images, output_facts, gather(OutlierSettings, settings, options))


@click.command()
@settings_options(AttackSettings)
@WEIGHTS
@DENSE
@DATA
@OUTPUT
@click.option("--progress", type=FILE, help="file that lets an interrupted AutoAttack go on; removed after success")
@machine_options
@log_option
def attack(
    settings: str,
    weights: Path,
    dense: Path | None,
    data: Path,
    output: Path,
    progress: Path | None,
    threads: int,
    device: str,
    **options: Any,
) -> None:
    """Accuracy of a trained network under adversarial attacks."""
    chosen = gather(AttackSettings, settings, options)
    on = use_machine(threads, device)
    from layerlottery.evaluation.attack import attack as stage

    stage(weights, data, output, chosen, device=on, dense=dense, progress=progress)


@click.command()
@settings_options(ShiftSettings)
@WEIGHTS
@DATA
@CORRUPTED_IMAGES
@CORRUPTED_FACTS
@OUTLIER_IMAGES
@OUTLIER_FACTS
@OUTPUT
@click.option("--output-detection", type=FILE, required=True, help="file to write: how well outliers are told apart")
@machine_options
@log_option
def shift(
    settings: str,
    weights: Path,
    data: Path,
    corrupted_images: Path,
    corrupted_facts: Path,
    outlier_images: Path,
    outlier_facts: Path,
    output: Path,
    output_detection: Path,
    threads: int,
    device: str,
    **options: Any,
) -> None:
    """Accuracy and calibration of a trained network on clean, shifted and corrupted images; outliers told apart."""
    chosen = gather(ShiftSettings, settings, options)
    on = use_machine(threads, device)
    from layerlottery.evaluation.shift import shift as stage

    stage(
        weights,
        data,
        corrupted_images,
        corrupted_facts,
        output,
        chosen,
        device=on,
        outlier_images=outlier_images,
        outlier_facts=outlier_facts,
        output_detection=output_detection,
    )


@click.command()
@settings_options(CompareSettings)
@WEIGHTS
@click.option("--dense", type=FILE, required=True, help="trained weights of the dense network")
@DATA
@OUTPUT
@machine_options
@log_option
def compare(
    settings: str, weights: Path, dense: Path, data: Path, output: Path, threads: int, device: str, **options: Any
) -> None:
    """Similarity of a trained ticket's features and its dense network's, layer by layer."""
    chosen = gather(CompareSettings, settings, options)
    on = use_machine(threads, device)
    from layerlottery.evaluation.compare import compare as stage

    stage(weights, dense, data, output, chosen, device=on)


@click.command()
@settings_options(EvaluationSettings)
@WEIGHTS
@DENSE
@DATA
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="folder for shift.parquet, detection.parquet, attack.parquet and the images that they tell of",
)
@machine_options
@log_option
def evaluate(
    settings: str,
    weights: Path,
    dense: Path | None,
    data: Path,
    output: Path,
    threads: int,
    device: str,
    **options: Any,
) -> None:
    """All tests of one trained network in one process, and what they say: corrupt, outliers, shift, attack."""
    chosen = gather(EvaluationSettings, settings, options)
    on = use_machine(threads, device)
    from layerlottery.evaluation.evaluate import evaluate as stage
    from layerlottery.report.evaluation import evaluation_text

    stage(weights, data, output, chosen, dense=dense, device=on)
    click.echo(evaluation_text(output))


COMMANDS = (corrupt, outliers, attack, shift, compare, evaluate)
