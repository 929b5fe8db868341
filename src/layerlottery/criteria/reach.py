"""Parameters that a network uses and its loss does not reach: a gradient that is missing is not zero."""

from __future__ import annotations

from collections.abc import Collection

from layerlottery.criteria.batches import each
from layerlottery.criteria.scoring import Scoring
from layerlottery.errors import LayerLotteryError
from layerlottery.networks.inputs import each_tensor
from layerlottery.networks.trace import record, tensors_of


def check_reached(given: Scoring, lost: Collection[int]) -> None:
    """Raise if an answer follows from scored parameters without a gradient, naming the first block that has one.

    `lost` are the ids of the parameters that the loss does not reach. What the network does not use may be among
    them: it scores zero.
    """
    used, leading = _used(given)
    for holder, parameters in given.by_holder().items():
        missing = {name: id(one) for name, one in parameters.items() if id(one) in lost}
        # where the record has a gap, it does not lead on to the answer; yet a whole block is on its way
        counts = used if len(missing) == len(parameters) else leading
        if cut := [name for name, one in missing.items() if one in counts]:
            raise LayerLotteryError(
                f"{holder}: the loss does not reach {cut[0]}, so {given.settings.function} can't score it; allowed: "
                "weights that are neither detached nor used under torch.no_grad"
            )


def _used(given: Scoring) -> tuple[set[int], set[int]]:
    """Ids of the tensors that the network computes with, and of those that its answer follows from."""
    inputs, dtype = next(each(given.batches))[0], next(given.model.parameters()).dtype
    trace = record(given.model, each_tensor(inputs, lambda one: one.to(dtype) if one.is_floating_point() else one))
    pairs = {
        id(tensor): number
        for operation in trace.operations
        for tensor, number in zip(tensors_of((operation.arguments, operation.keywords)), operation.inputs, strict=True)
    }
    leading = trace.sources(trace.calls[0].outputs)
    return set(pairs), {one for one, number in pairs.items() if number in leading}
