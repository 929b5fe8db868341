"""Commands of the stages that make networks: prepare, initialize, score, prune, train, rewind, profile."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from layerlottery.cli.options import logs_to_terminal
from layerlottery.cli.stages import (
    DATA,
    FILE,
    FOLDER,
    OUTPUT,
    OUTPUT_FACTS,
    SEED,
    WEIGHTS,
    on_devices,
    on_machine,
    output_folder,
    required_file,
    stage,
    structure,
    whole_number,
)
from layerlottery.config.choices import LOGGING, Scored, Structure
from layerlottery.errors import LayerLotteryError

if TYPE_CHECKING:
    from layerlottery.config.live import LoggingSettings
    from layerlottery.config.training import TrainingSettings

log = logging.getLogger(__name__)


@stage("prepare", output_folder("folder to write"))
def prepare(settings: Any, output: Path) -> None:
    """Decode an image set once, to uint8 arrays that later stages memory-map."""
    from layerlottery.data.prepare import prepare

    prepare(settings, output)


@stage("initialize", DATA, OUTPUT, SEED, whole_number("--draw", 0, "0 is θ0, others are fresh weights"))
@click.option(
    "--asked",
    type=(str, str, int),
    default=None,
    metavar="KEY NETWORK BLOCKS",
    help="refuse a network that can't lose so many blocks, naming it and the key that asks for them",
)
def initialize(**given: Any) -> None:
    """Draw the random weights that a dense network and its tickets share."""
    from layerlottery.networks.initialize import initialize_network

    initialize_network(**given)


@stage("score", WEIGHTS, DATA, OUTPUT, structure(Scored), SEED)
@whole_number("--draw", 0, "draw of random choices and images")
@on_machine
def score(threads: int, **given: Any) -> None:
    """Score the residual blocks of a network, its filters or its weights."""
    from layerlottery.criteria.score import score

    score(**given)


def _refuse_density(_context: click.Context, _option: click.Parameter, given: str | None) -> None:
    if given is not None:
        raise LayerLotteryError("--density: now called --removed")


@stage("prune", WEIGHTS)
@click.option("--density", hidden=True, is_eager=True, expose_value=False, callback=_refuse_density)
@required_file("--scores", "scores of the dense network: scores.json, or of weights")
@click.option("--removed", type=click.IntRange(0), required=True, help="how many residual blocks go")
@structure(Structure)
@click.option("--budget", type=FILE, help="all but layers: scores.json of the blocks that set how many stay")
@click.option("--data", type=FILE, help="filters_at_macs, dense_at_cost: facts.json of the image set")
@OUTPUT
@OUTPUT_FACTS
def prune(data: Path | None, **given: Any) -> None:
    """Remove the lowest-scored blocks, or as many filters or weights; the kept ones keep their weights."""
    from layerlottery.networks.prune import prune

    facts = prune(**given, macs=None if data is None else _counting(data))
    # a job of a workflow leaves the counting to the stage profile, which does it once for all
    if logs_to_terminal() and facts["structure"] != "dense_at_cost":
        _say_macs(facts["architecture"])


def _say_macs(architecture: dict[str, Any]) -> None:
    from layerlottery.cost.network import macs_saved

    # a network of the user's own is built by code that no configuration has named here
    with suppress(LayerLotteryError):
        log.info("%.0f %% fewer MACs", 100 * macs_saved(architecture))


def _counting(data: Path) -> Callable[[Any], int]:
    """What counts a network's multiply-accumulates for an image of this set."""
    from layerlottery.cost.network import macs
    from layerlottery.data.prepared import PreparedSet

    held = PreparedSet.open(data)
    return partial(macs, image_shape=(held.channels, held.image_size, held.image_size))


# what `train` and `rewind` share
TRAINING = (
    WEIGHTS,
    DATA,
    click.option("--checkpoint", type=FILE, help="file that lets an interrupted training go on; removed after success"),
    click.option(
        "--checkpoint-seconds",
        type=click.FloatRange(0),
        default=60.0,
        show_default=True,
        help="training time between two checkpoints",
    ),
    click.option("--kept", type=FOLDER, help="folder of the weights that a dense training keeps"),
    SEED,
)


def _read_logging(_context: click.Context, _option: click.Parameter, given: str) -> LoggingSettings:
    from layerlottery.cli.settings import gather
    from layerlottery.config.live import LoggingSettings

    return gather(LoggingSettings, given, {}, key="logging")


@stage("train", output_folder("folder for weights.safetensors, curve.parquet and training.json"), *TRAINING)
@whole_number("--start-epoch", 0, "first epochs left out")
@click.option("--keep", type=click.IntRange(1), multiple=True, help="epoch whose weights are kept; repeat for several")
@click.option(
    "--logging",
    envvar=LOGGING,
    show_envvar=True,
    default="{}",
    metavar="JSON",
    callback=_read_logging,
    help='trackers of live curves: {"tensorboard": true, "wandb": "project", "mlflow": "experiment"}',
)
@on_devices
def train(settings: TrainingSettings, threads: int, **given: Any) -> None:
    """Train a network from given weights. SIGTERM saves a checkpoint and exits with 75."""
    from layerlottery.training.progress import epoch_reporter
    from layerlottery.training.train import train

    with epoch_reporter(settings.epochs) as on_epoch:
        train(settings=settings, on_epoch=on_epoch, **given)


@stage("rewind", OUTPUT, *TRAINING)
@click.option("--epoch", type=click.IntRange(1), required=True, help="epoch after which the weights are wanted")
@on_devices
def rewind(epoch: int, threads: int, **given: Any) -> None:
    """Write the weights of a dense network after an epoch: kept ones, or trained again."""
    from layerlottery.training.progress import epoch_reporter
    from layerlottery.training.rewind import rewind

    with epoch_reporter(epoch) as on_epoch:
        rewind(epoch=epoch, on_epoch=on_epoch, **given)


@stage("profile")
@required_file("--weights", "initial weights of the dense network")
@click.option("--ticket", "tickets", type=FILE, multiple=True, help="ticket.json; repeat for several")
@DATA
@OUTPUT
@whole_number("--batch-size", 128, "images a training step", least=1)
@whole_number("--copies", 1, "tensors as large as the parameters that optimizer and averages hold")
@on_machine
def profile(**given: Any) -> None:
    """Measure parameters, MACs, training memory and latency of a dense network and its tickets."""
    from layerlottery.cost.profile import profile

    profile(**given)
