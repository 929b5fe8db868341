"""The stage `rewind`: the dense network's weights θi after epoch i, from which tickets start."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from layerlottery import paths
from layerlottery.config.provenance import config_hash
from layerlottery.config.recipes import check_recipe
from layerlottery.config.training import TrainingSettings
from layerlottery.errors import LayerLotteryError
from layerlottery.networks.weights import load_network
from layerlottery.training.alone import alone
from layerlottery.training.leftovers import of_this_training
from layerlottery.training.loop import CHECKPOINT_SECONDS
from layerlottery.training.session import Session, begin
from layerlottery.training.together import together


def rewind(
    weights: Path,
    data: Path,
    output: Path,
    settings: TrainingSettings,
    *,
    epoch: int,
    seed: int,
    device: torch.device,
    others: Sequence[torch.device] = (),
    kept: Path | None = None,
    checkpoint: Path | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    on_epoch: Callable[[dict[str, float]], None] = lambda row: None,
) -> None:
    """Write θi of the dense training that starts from `weights`, i = `epoch` (1 to the number of epochs).

    Taken from the folder `kept` if that training left it there; else the first i epochs are trained again, which
    gives the same weights. So a rewind that is asked for later changes no network that exists.
    """
    if not 1 <= epoch <= settings.epochs:
        raise LayerLotteryError(f"--epoch: found {epoch}; allowed: 1 to {settings.epochs}")
    check_recipe(output, settings)
    with alone(checkpoint):
        session = begin(weights, data, settings, seed=seed, device=device, checkpoint=checkpoint)
        session.trainer.checkpoint_seconds, session.trainer.on_epoch = checkpoint_seconds, on_epoch
        with session.trainer.stop.noting():
            if kept is None or not _load_kept(session, Path(paths.kept_weights(str(kept), str(epoch)))):
                with together(session, others, until=epoch):
                    session.trainer.run(session.progress, until=epoch)
            made_by = config_hash("rewind", settings, [session.fingerprint], epoch=epoch)
            session.save_weights(output, config_hash=made_by)
            if checkpoint is not None:
                checkpoint.unlink(missing_ok=True)


def _load_kept(session: Session, path: Path) -> bool:
    """Whether the dense training left this epoch's weights; broken or foreign ones are passed over."""
    held = of_this_training(path, session.fingerprint, load_network, otherwise="kept weights not used")
    if held is None:
        return False
    session.trainer.model.load_state_dict(held[0].state_dict())
    return True
