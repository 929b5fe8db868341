"""Networks and blocks that answer with more than a tensor."""

from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import layerlottery as ll
from layerlottery.errors import LayerLotteryError
from layerlottery.networks.answers import logits_of

IMAGES = torch.rand(8, 3, 6, 6, generator=torch.Generator().manual_seed(6))
BATCH = IMAGES, torch.arange(8) % 3
Named = namedtuple("Named", "features logits")


@dataclass
class Answer:
    logits: Tensor
    hidden: Tensor


class Layer(nn.Module):
    """x + a convolution; `form` says in which form it takes and gives x."""

    def __init__(self, form):
        super().__init__()
        self.conv, self.form = nn.Conv2d(5, 5, 3, 1, 1), form

    def forward(self, x, scale=None):
        given = x[0] if isinstance(x, tuple) else x
        weights = self.conv(given).tanh()
        y = given + weights
        forms = {"tensor": y, "none": (y, None), "weights": (y, weights), "alone": (y,), "list": [y, None]}
        forms |= {"text": (y, "told"), "dict": {"y": y}, "named": Named(y, None)}
        if self.form == "pair":
            return y, x[1]
        if self.form == "growing":
            return y, x[1] + y
        return forms[self.form]


class Network(nn.Module):
    def __init__(self, form="tensor", answer=lambda logits: logits, collect=False):
        super().__init__()
        torch.manual_seed(9)
        self.stem, self.layers = nn.Conv2d(3, 5, 1), nn.ModuleList(Layer(form) for _ in range(3))
        self.head, self.answer, self.collect = nn.Linear(5, 3), answer, collect
        self.packed = form in ("pair", "growing")

    def forward(self, x):
        x, more = self.stem(x), torch.zeros(())
        x = (x, x) if self.packed else x
        for layer in self.layers:
            got = layer(x)
            if self.collect:
                more = more + got[1].mean()
            paired = isinstance(x, tuple)
            x = got if paired or isinstance(got, Tensor) else got["y"] if isinstance(got, dict) else got[0]
        x = x[0] if isinstance(x, tuple) else x
        return self.answer(self.head(x.mean((2, 3))) + more)


CRITERIA = ("snip", "grasp", "synflow", "l1", "kl", "cka", "consensus", "expectabs", "pls")


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("form", ["none", "weights", "alone", "pair"])
def test_blocks_that_give_tuples_are_blocks(form, criterion):
    model = Network(form)
    assert ll.score(model, BATCH, criterion) == ll.score(Network(), BATCH, criterion)


@pytest.mark.parametrize("form", ["none", "weights", "alone", "pair"])
def test_tickets_of_tuples_compute_what_tickets_of_tensors_do(form, tmp_path):
    ticket = ll.find_ticket(Network(form), BATCH, "snip", remove=2)
    plain = ll.prune(Network(), ticket.removed_blocks, example=IMAGES).model
    assert torch.equal(ticket.model.eval()(IMAGES), plain.eval()(IMAGES))
    ll.save_ticket(ticket, tmp_path / "ticket.safetensors")
    loaded = ll.load_ticket(tmp_path / "ticket.safetensors", lambda: Network(form)).model
    assert torch.equal(loaded.eval()(IMAGES), plain(IMAGES))


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (Network("weights", collect=True), "layers.0: it gives more than the stream, which others use"),
        (Network("text"), "layers.0: it gives more than the stream, which others use"),
        (Network("growing"), "layers.0: without it the network does not compute"),
        (Network("named"), "layers.0: without it the network does not compute"),
        (Network("list"), "none of its additions stands in a sub-module that takes a tensor and gives one, alone or"),
        (Network("dict"), "none of its additions stands in a sub-module that takes a tensor and gives one, alone or"),
    ],
)
def test_other_blocks_are_refused_with_the_reason(model, reason):
    with pytest.raises(LayerLotteryError, match=f"^Network: found no .*{reason}"):
        ll.find_blocks(model, IMAGES)


ANSWERS = {
    "mapping": lambda logits: OrderedDict(loss=None, logits=logits),
    "dataclass": lambda logits: Answer(logits, logits[:, :1]),
    "named tuple": lambda logits: Named(logits[:, :2], logits),
    "tuple of one": lambda logits: (logits,),
    "and a loss": lambda logits: (logits.sum(), logits),
}


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("kind", ANSWERS)
def test_answers_that_hold_logits(kind, criterion):
    assert ll.score(Network(answer=ANSWERS[kind]), BATCH, criterion) == ll.score(Network(), BATCH, criterion)


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (lambda logits: (logits, 2 * logits), "a tuple"),
        (lambda logits: {"scores": logits}, "a dict"),
        (lambda logits: logits.mean(), "a tensor"),
        (lambda logits: None, "a NoneType"),
    ],
)
def test_answers_without_logits_are_refused(answer, found):
    with pytest.raises(LayerLotteryError, match=f"^forward: gives {found}"):
        ll.score(Network(answer=answer), BATCH, "snip")


class Training(NamedTuple):
    auxiliary: Tensor
    logits: Tensor


def test_logits_of_training():
    main, other = torch.ones(4, 3), torch.zeros(4, 3)
    for answer in ((main, other), [main, other, other], Training(other, main), {"aux": other, "logits": main}, main):
        assert logits_of(answer, training=True) is main
    assert F.cross_entropy(logits_of((main, [other]), training=True), torch.zeros(4).long()) > 0
