"""The command `export`: a trained network of a benchmark in plain form, images in [0, 1] in, logits out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from layerlottery import paths
from layerlottery.data.prepared import PreparedSet
from layerlottery.errors import LayerLotteryError
from layerlottery.export.onnx_file import export_onnx, require_onnx
from layerlottery.export.plain import plain
from layerlottery.export.program import export_program
from layerlottery.export.result_card import Exported, result_card
from layerlottery.networks.predictor import Predictor
from layerlottery.networks.weights import load_network
from layerlottery.store.artifacts import atomic
from layerlottery.store.seals import file_digest
from layerlottery.upkeep.show import StoredNetwork, describe, find_network

CARD = "README.md"


def _export_weights(model: nn.Module, path: Path, images: Tensor) -> float:
    """Write the model's own tensors, from which nothing differs."""
    tensors = {name: tensor.contiguous().clone() for name, tensor in model.state_dict().items()}
    with atomic(path) as temporary:
        temporary.write_bytes(safetensors.torch.save(tensors, metadata={"format": "pt"}))
    return 0.0


# a format's file, and what writes it and returns the largest difference from the network
WRITERS: dict[str, tuple[str, Callable[[nn.Module, Path, Tensor], float]]] = {
    "weights": ("weights.safetensors", _export_weights),
    "program": ("network.pt2", export_program),
    "onnx": ("network.onnx", export_onnx),
}
FORMATS = (*WRITERS, "card")


def export_result(result: Path, output: Path, formats: Sequence[str] = FORMATS) -> list[Path]:
    """Write the network of a folder of results to the folder `output`; returns the files.

    `weights`: weights.safetensors, a state dict; `program`: network.pt2; `onnx`: network.onnx; `card`: README.md,
    which describes the files that are written with it. Programs and ONNX files are compared with the network before
    they take their names. Raises LayerLotteryError for an unknown format, a network that is not trained, a damaged
    file, or a package that is missing.
    """
    _check_formats(formats)
    network, description = find_network(result), describe(result)
    for file in description["files"]:
        if file["state"] == "damaged":
            raise LayerLotteryError(f"{Path(network.folder(network.run)) / file['file']}: {file['reason']}")
    model, prepared = _open(network)
    shape = (prepared.channels, prepared.image_size, prepared.image_size)
    images = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    exported: dict[str, Exported] = {}
    for name, (file, write) in WRITERS.items():
        if name in formats:
            difference = write(model, output / file, images)
            exported[file] = Exported((output / file).stat().st_size, file_digest(output / file), difference)
    if "card" in formats:
        with atomic(output / CARD) as temporary:
            temporary.write_text(result_card(description, network, prepared, exported), encoding="utf-8")
    return [output / file for file in (*exported, *([CARD] if "card" in formats else []))]


def _check_formats(formats: Sequence[str]) -> None:
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise LayerLotteryError(f"--format: found {', '.join(unknown) or 'none'}; allowed: {', '.join(FORMATS)}")
    if "onnx" in formats:
        require_onnx()


def _open(network: StoredNetwork) -> tuple[nn.Module, PreparedSet]:
    """The network as it is exported, and the image set that it was trained on."""
    weights = Path(paths.trained_weights(network.folder(network.run)))
    if not weights.is_file():
        raise LayerLotteryError(f"{weights}: no such file; allowed: networks that are trained")
    folder = f"{network.prefix}{paths.DATASET.format(dataset=network.run.dataset)}"
    prepared = PreparedSet.open(Path(paths.prepared(folder)))
    return plain(Predictor(load_network(weights)[0], prepared.mean, prepared.std)), prepared
