"""layerlottery: layer pruning at initialization, as a benchmark and as a method.

The method for anyone's own residual network:

    blocks = layerlottery.find_blocks(model, example)
    scores = layerlottery.score(model, batch=(x, y), criterion="grasp")
    ticket = layerlottery.prune(model, remove=["layer3.4", "layer2.2"])
    ticket = layerlottery.find_ticket(model, batch=(x, y), criterion="grasp", remove=3)
    small, table = ticket.model, ticket.summary()
    layerlottery.save_ticket(ticket, "ticket.safetensors")
    ticket = layerlottery.load_ticket("ticket.safetensors", model_factory)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from layerlottery.version import __version__

if TYPE_CHECKING:
    from layerlottery.config.criteria import CRITERIA, CriterionSettings
    from layerlottery.errors import LayerLotteryError
    from layerlottery.export.card import model_card
    from layerlottery.export.onnx_file import export_onnx
    from layerlottery.export.program import export_program
    from layerlottery.networks.blocks import Block, find_blocks
    from layerlottery.tickets import Cost, Latency, Ticket, find_ticket, load_ticket, prune, save_ticket, score

_HOMES = {
    "errors": ("LayerLotteryError",),
    "export.card": ("model_card",),
    "export.onnx_file": ("export_onnx",),
    "export.program": ("export_program",),
    "networks.blocks": ("Block", "find_blocks"),
    "config.criteria": ("CRITERIA", "CriterionSettings"),
    "tickets": ("Cost", "Latency", "Ticket", "find_ticket", "load_ticket", "prune", "save_ticket", "score"),
}

__all__ = [
    "CRITERIA",
    "Block",
    "Cost",
    "CriterionSettings",
    "Latency",
    "LayerLotteryError",
    "Ticket",
    "__version__",
    "export_onnx",
    "export_program",
    "find_blocks",
    "find_ticket",
    "load_ticket",
    "model_card",
    "prune",
    "save_ticket",
    "score",
]


def __getattr__(name: str) -> Any:
    # when first asked for: the Snakefile imports this package in every job, and torch takes seconds
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"layerlottery.{home}"), name)
    raise AttributeError(f"module 'layerlottery' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
