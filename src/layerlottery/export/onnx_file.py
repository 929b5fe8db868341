"""A network as an ONNX file, tried by onnxruntime before it takes its name. Needs the extra `export`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from layerlottery.errors import LayerLotteryError
from layerlottery.export.plain import TOLERANCE, check_answers, one_line, plain, traced_images
from layerlottery.export.program import trace
from layerlottery.networks.copies import public
from layerlottery.store.artifacts import as_path, atomic
from layerlottery.tickets import Ticket

OPSET = 18  # onnxruntime 1.14 and later
INPUT, OUTPUT = "images", "logits"
# protobuf's limit for one message
MOST_BYTES = 2**31 - 2**20


@public
def export_onnx(
    model: Ticket | nn.Module, path: str | Path, example: Tensor | None = None, *, tolerance: float = TOLERANCE
) -> float:
    """Write a ticket or a network to an ONNX file: `images` (batch, …) in, `logits` out, batches of any size.

    `example` is a batch of images (N, …); a ticket remembers their shape. onnxruntime runs what was written on other
    images: returns the largest difference from torch as a share of the largest output, and raises LayerLotteryError
    where it is beyond `tolerance`, where the network can't be traced, or without the extra `export`.
    """
    network, path = plain(model), as_path(path)
    images = traced_images(model, network, example)
    require_onnx()
    held = _onnx_bytes(network, images)
    difference = check_answers(network, _session(held), images, str(path), tolerance=tolerance)
    with atomic(path) as temporary:
        temporary.write_bytes(held)
    return difference


def require_onnx() -> None:
    """Raise LayerLotteryError unless what ONNX needs is installed."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise LayerLotteryError(
            f"onnx: the package {error.name} is not installed: pip install 'layerlottery[export]'"
        ) from error


def _onnx_bytes(network: nn.Module, images: Tensor) -> bytes:
    size = sum(one.nbytes for one in network.state_dict().values())
    if size > MOST_BYTES:
        raise LayerLotteryError(f"onnx: the weights have {size / 2**30:.1f} GiB; allowed: 2 GiB in one file")
    try:
        program = torch.onnx.export(
            trace(network, images),
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=[OUTPUT],
            # its steps are not printed
            verbose=False,
        )
    except LayerLotteryError:
        raise
    except Exception as error:
        cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
        raise LayerLotteryError(f"{type(network).__name__}: ONNX can't express it: {one_line(cause)}") from error
    assert program is not None
    proto = program.model_proto
    _without_paths(proto)
    held: bytes = proto.SerializeToString(deterministic=True)
    return held


def _without_paths(proto: Any) -> None:
    """The exporter notes where each operation stood in files of this machine."""
    for nodes in (proto.graph.node, *(function.node for function in proto.functions)):
        for node in nodes:
            del node.metadata_props[:]
            node.doc_string = ""
    for value in (*proto.graph.value_info, *proto.graph.input, *proto.graph.output, *proto.graph.initializer):
        del value.metadata_props[:]
    del proto.graph.metadata_props[:]


def _session(held: bytes) -> Callable[[Tensor], Tensor]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(held, options, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run([OUTPUT], {INPUT: images.numpy()})[0])
