"""A network as a torch.export program: torch alone opens it, without the code that built the network.

The file is a zip of JSON (the graph) and raw bytes (the weights). torch.export.save would add the example images as a
pickle; they are left out, so that nothing in the file is pickled. torch.export.load, however, unpickles what a file
does hold: whoever opens a file of unknown origin with it runs that file's code. This package never opens one.
"""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from layerlottery.cost.network import plain_attention
from layerlottery.errors import LayerLotteryError
from layerlottery.export.plain import TOLERANCE, check_answers, one_line, plain, traced_images
from layerlottery.networks.copies import public
from layerlottery.store.artifacts import as_path, atomic
from layerlottery.tickets import Ticket


@public
def export_program(
    model: Ticket | nn.Module, path: str | Path, example: Tensor | None = None, *, tolerance: float = TOLERANCE
) -> float:
    """Write a ticket or a network to a torch.export file (.pt2), for batches of any size.

    `torch.export.load(path).module()` is a torch module with the network's parameters under their names, in eval mode.
    `example` is a batch of images (N, …); a ticket remembers their shape. What was written is loaded from memory and
    compared: returns the largest difference as a share of the largest output, and raises LayerLotteryError where it
    is beyond `tolerance` or where the network can't be traced. Nothing in the file is pickled.
    """
    network, path = plain(model), as_path(path)
    images = traced_images(model, network, example)
    held = program_bytes(trace(network, images))
    loaded = torch.export.load(io.BytesIO(held)).module()
    difference = check_answers(network, loaded, images, str(path), tolerance=tolerance)
    with atomic(path) as temporary:
        temporary.write_bytes(held)
    return difference


def trace(network: nn.Module, images: Tensor) -> ExportedProgram:
    """The network's program for any number of images; raises LayerLotteryError where it can't be traced."""
    try:
        with torch.no_grad(), plain_attention():
            program = torch.export.export(network, (images,), dynamic_shapes=({0: Dim("batch")},))
    except Exception as error:
        raise LayerLotteryError(f"{type(network).__name__}: torch.export can't trace it: {one_line(error)}") from error
    for module in program.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
            # names files of the machine
            node.meta.pop("stack_trace", None)
    return program


def program_bytes(program: ExportedProgram) -> bytes:
    """The bytes that torch.export.save writes, without a pickle; raises LayerLotteryError where there would be one."""
    program._example_inputs = None
    written = io.BytesIO()
    torch.export.save(program, written)
    with zipfile.ZipFile(written) as archive:
        pickled = [name for name in archive.namelist() if _is_pickled(archive, name)]
    if pickled:
        raise LayerLotteryError(
            f"program: tensors of a type of their own would be pickled ({', '.join(pickled)[:120]})"
        )
    return written.getvalue()


def _is_pickled(archive: zipfile.ZipFile, name: str) -> bool:
    if name.endswith("_config.json"):
        return any(entry["use_pickle"] for entry in json.loads(archive.read(name))["config"].values())
    return "sample_inputs/" in name and archive.getinfo(name).file_size > 0
