"""The command `networks`: removable blocks of networks as a Markdown table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import click

from layerlottery.cli.panels import PanelCommand
from layerlottery.errors import LayerLotteryError

if TYPE_CHECKING:
    from layerlottery.config.networks import Network, Stem
    from layerlottery.networks.blocks import Block

HEADS = ("network", "parameters", "MACs", "residual blocks", "may go: each stage", "most")


def rows(names: Sequence[str], *, stem: Stem, channels: int, classes: int, image_size: int) -> Iterator[Sequence[str]]:
    """A row for each network, as HEADS names its cells; images are (channels, image_size, image_size)."""
    import torch

    from layerlottery.cost.network import macs, parameters
    from layerlottery.networks.blocks import residual_blocks
    from layerlottery.networks.weights import build, dense_architecture

    shape = (channels, image_size, image_size)
    for name in names:
        settings = _settings(name, stem)
        model = build(dense_architecture(settings, channels=channels, classes=classes, image_size=image_size))
        generator = torch.Generator().manual_seed(0)
        blocks = residual_blocks(model, torch.randn(2, *shape, generator=generator), keep_first=settings.keep_first)
        stages = [list(held) for _, held in groupby(blocks, key=lambda block: block.stage)]
        going = [_going(held, settings.minimum) for held in stages]
        counts = f"{parameters(model) / 1e6:.2f} M", f"{macs(model, shape) / 1e6:.1f} M"
        yield (f"`{name}`", *counts, str(len(blocks)), ", ".join(map(str, going)), str(sum(going)))


def _going(stage: Sequence[Block], minimum: int) -> int:
    return max(0, min(sum(block.removable for block in stage), len(stage) - minimum))


def _settings(name: str, stem: Stem) -> Network:
    from layerlottery.config.networks import NAMES, LibrarySettings, named_network

    try:
        settings = named_network(name)
    except KeyError:
        raise LayerLotteryError(f"found {name!r}; allowed: {NAMES}") from None
    return settings.model_copy(update={"stem": stem}) if isinstance(settings, LibrarySettings) else settings


@click.command(cls=PanelCommand)
@click.argument("names", nargs=-1, required=True)
@click.option("--stem", type=click.Choice(["as_is", "small"]), default="as_is", help="of networks from libraries")
@click.option("--channels", default=3, show_default=True)
@click.option("--classes", default=10, show_default=True)
@click.option("--image-size", default=32, show_default=True)
def networks(names: tuple[str, ...], **images: Any) -> None:
    """Print what networks have as Markdown: parameters, MACs, residual blocks, and how many of each stage may go."""
    click.echo(f"| {' | '.join(HEADS)} |\n|{'---|' * len(HEADS)}")
    for row in rows(names, **images):
        click.echo(f"| {' | '.join(row)} |")
