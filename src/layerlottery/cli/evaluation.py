"""Commands that make test images and test trained networks: corrupt, outliers, attack, shift, compare, evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from layerlottery.cli import stages
from layerlottery.cli.stages import DATA, FILE, OUTPUT, OUTPUT_FACTS, WEIGHTS, on_machine, required_file, stage

DENSE = click.option(
    "--dense", type=FILE, help="trained weights of the dense network, whose examples are transferred; none: its own"
)
OUTPUT_IMAGES = required_file("--output-images", "npy file to write")


@stage("corrupt", DATA, OUTPUT_IMAGES, OUTPUT_FACTS)
@click.option("--official", default="{}", metavar="JSON", help="published sets instead: sets, location, download")
def corrupt(official: str, **given: Any) -> None:
    """Corrupt the test images of a set, or take the published ones, once for all networks."""
    from layerlottery.cli.settings import gather
    from layerlottery.config.data import OfficialSettings
    from layerlottery.evaluation.corrupt import corrupt

    corrupt(official=gather(OfficialSettings, official, {}), **given)


@stage("outliers", DATA, OUTPUT_IMAGES, OUTPUT_FACTS)
def outliers(**given: Any) -> None:
    """Collect images that belong to no class of a set, once for all networks."""
    from layerlottery.evaluation.outliers import outliers

    outliers(**given)


@stage("attack", WEIGHTS, DENSE, DATA, OUTPUT)
@click.option("--progress", type=FILE, help="file that lets an interrupted AutoAttack go on; removed after success")
@on_machine
def attack(threads: int, **given: Any) -> None:
    """Measure the accuracy of a trained network under adversarial attacks."""
    from layerlottery.evaluation.attack import attack

    attack(**given)


@stage("shift", WEIGHTS, DATA)
@required_file("--corrupted-images", "npy file of the corrupt stage")
@required_file("--corrupted-facts", "JSON file of the corrupt stage")
@required_file("--outlier-images", "npy file of the outliers stage")
@required_file("--outlier-facts", "JSON file of the outliers stage")
@OUTPUT
@required_file("--output-detection", "file to write: how well outliers are told apart")
@on_machine
def shift(threads: int, **given: Any) -> None:
    """Measure a trained network on clean, shifted and corrupted images, and how well it tells outliers apart."""
    from layerlottery.evaluation.shift import shift

    shift(**given)


@stage("compare", WEIGHTS, required_file("--dense", "trained weights of the dense network"), DATA, OUTPUT, on_machine)
def compare(threads: int, **given: Any) -> None:
    """Compare the features of a trained ticket with its dense network's, layer by layer."""
    from layerlottery.evaluation.compare import compare

    compare(**given)


def _evaluation_settings() -> Any:
    from layerlottery.config.evaluation import EvaluationSettings

    return EvaluationSettings


@stages.with_settings(_evaluation_settings)
@WEIGHTS
@DENSE
@DATA
@stages.output_folder("folder for shift.parquet, detection.parquet, attack.parquet and the images behind them")
@on_machine
def evaluate(threads: int, output: Path, **given: Any) -> None:
    """Run all tests of one trained network and print what they say: corrupt, outliers, shift and attack at once."""
    from layerlottery.evaluation.evaluate import evaluate
    from layerlottery.report.evaluation import evaluation_text

    evaluate(output=output, **given)
    click.echo(evaluation_text(output))
