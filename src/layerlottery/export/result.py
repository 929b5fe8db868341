"""The command `export`: a trained network of a benchmark in plain form, images in [0, 1] in, logits out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, fx, nn

from layerlottery import paths
from layerlottery.data.prepared import PreparedSet
from layerlottery.errors import LayerLotteryError
from layerlottery.export.onnx_file import export_onnx, require_onnx
from layerlottery.export.plain import check_answers, plain
from layerlottery.export.program import export_program
from layerlottery.export.result_card import Exported, result_card
from layerlottery.export.source import NoSourceError, flat, load_source, source
from layerlottery.networks.predictor import Predictor
from layerlottery.networks.weights import load_network
from layerlottery.store.artifacts import atomic
from layerlottery.store.seals import file_digest
from layerlottery.upkeep.show import Network, describe, find_network

FORMATS = ("weights", "program", "onnx", "card")
ONNX, PROGRAM, WEIGHTS, SOURCE, CARD = "network.onnx", "network.pt2", "weights.safetensors", "network.py", "README.md"


def export_result(result: Path, output: Path, formats: Sequence[str] = FORMATS) -> list[Path]:
    """Write the network of a folder of results to the folder `output`; returns the files.

    `weights`: weights.safetensors and, where torch.fx can follow the network, network.py, whose class Network they
    load into; `program`: network.pt2; `onnx`: network.onnx; `card`: README.md, which describes the files that are
    written with it. Each is compared with the network before it takes its name. Raises LayerLotteryError for an
    unknown format, a network that is not trained, a damaged file, or a package that is missing.
    """
    chosen = _chosen(formats)
    network, description = find_network(result), describe(result)
    for file in description["files"]:
        if file["state"] == "damaged":
            raise LayerLotteryError(f"{Path(network.folder(network.run)) / file['file']}: {file['reason']}")
    made = _Made.of(network, output)
    for name in chosen:
        WRITERS[name](made)
    if "card" in formats:
        with atomic(output / CARD) as temporary:
            temporary.write_text(result_card(description, network, made.prepared, made.exported), encoding="utf-8")
    return [output / name for name in made.exported] + ([output / CARD] if "card" in formats else [])


def _chosen(formats: Sequence[str]) -> list[str]:
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise LayerLotteryError(f"--format: found {', '.join(unknown) or 'none'}; allowed are {', '.join(FORMATS)}")
    if "onnx" in formats:
        require_onnx()
    # the card describes the others, and comes last
    return [name for name in FORMATS if name in formats and name != "card"]


@dataclass
class _Made:
    """The network as it is exported, and the files so far: the largest difference from it, and their hashes."""

    model: nn.Module
    prepared: PreparedSet
    name: str
    output: Path
    exported: dict[str, Exported] = field(default_factory=dict)

    @classmethod
    def of(cls, network: Network, output: Path) -> _Made:
        run = network.run
        weights = Path(paths.trained_weights(network.folder(run)))
        if not weights.is_file():
            raise LayerLotteryError(f"{weights}: no such file; allowed are networks that are trained")
        prepared = PreparedSet.open(
            Path(paths.prepared(f"{network.prefix}{paths.DATASET.format(dataset=run.dataset)}"))
        )
        predictor = Predictor(load_network(weights)[0], prepared.mean, prepared.std)
        return cls(plain(predictor), prepared, f"{run.network} on {run.dataset}", output)

    @property
    def images(self) -> Tensor:
        """Two images of noise in [0, 1]."""
        shape = (self.prepared.channels, self.prepared.image_size, self.prepared.image_size)
        return torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))

    def note(self, name: str, difference: float) -> None:
        path = self.output / name
        self.exported[name] = Exported(file_digest(path), path.stat().st_size, difference)


def _weights(made: _Made) -> None:
    try:
        recorded = flat(made.model)
        difference = _write_source(made, recorded)
        state = recorded.state_dict()
        made.note(SOURCE, difference)
    except NoSourceError:
        # the program has a module with these names
        (made.output / SOURCE).unlink(missing_ok=True)
        state, difference = made.model.state_dict(), 0.0
    tensors = {name: tensor.contiguous().clone() for name, tensor in state.items()}
    with atomic(made.output / WEIGHTS) as temporary:
        temporary.write_bytes(safetensors.torch.save(tensors, metadata={"format": "pt"}))
    made.note(WEIGHTS, difference)


def _write_source(made: _Made, recorded: fx.GraphModule) -> float:
    side, channels, classes = made.prepared.image_size, made.prepared.channels, len(made.prepared.classes)
    about = f"Images (N, {channels}, {side}, {side}) in [0, 1] to logits (N, {classes})."
    text = source(recorded, title=f"{made.name}, as plain torch.", about=about)
    loaded = load_source(text)
    loaded.load_state_dict(recorded.state_dict())
    path = made.output / SOURCE
    difference = check_answers(made.model, loaded, made.images, str(path))
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return difference


def _program(made: _Made) -> None:
    made.note(PROGRAM, export_program(made.model, made.output / PROGRAM, made.images))


def _onnx(made: _Made) -> None:
    made.note(ONNX, export_onnx(made.model, made.output / ONNX, made.images))


WRITERS: dict[str, Callable[[_Made], None]] = {"weights": _weights, "program": _program, "onnx": _onnx}
