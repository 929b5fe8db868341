"""Blocks whose additions lie in modules that are handed the stream, and blocks that give more than a tensor.

The reference is the network with the last layers of the blocks' branches set to zero.
"""

import copy

import pytest
import torch
from tests.unit.handed import Bert, Sized, maps, seeded, texts
from torch import nn

import layerlottery as ll
from layerlottery.networks.blocks import residual_blocks
from layerlottery.networks.removal import Removal


def silenced(model, *layers):
    silent = copy.deepcopy(model).eval()
    for name in layers:
        for parameter in silent.get_submodule(name).parameters():
            nn.init.zeros_(parameter)
    return silent


@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize("gone", [[1], [0, 2], [0, 1, 2]])
@torch.no_grad()
def test_layers_of_bert_leave_their_norms_on_the_stream(wrapped, gone):
    model, inputs = seeded(Bert, wrapped=wrapped).eval(), texts()
    blocks = ll.find_blocks(model, inputs)
    assert list(blocks) == [f"layers.{place}" for place in range(3)]
    assert blocks["layers.0"].removal.stays == ("attention.output.norm", "output.norm")
    small = ll.prune(model, [f"layers.{place}" for place in gone]).model
    silent = silenced(
        model, *(f"layers.{place}.{part}" for place in gone for part in ("attention.output.dense", "output.dense"))
    )
    torch.testing.assert_close(small(**inputs).logits, silent(**inputs).logits)
    assert not torch.allclose(small(**inputs).logits, model(**inputs).logits)
    assert small.state_dict().keys() < model.state_dict().keys()


@pytest.mark.parametrize(
    ("branch", "last"),
    [("layers.1.attention.own", "attention.output.dense"), ("layers.1.inner", "output.dense")],
)
@torch.no_grad()
def test_attention_and_mlp_of_bert_go_singly(branch, last):
    model, inputs = seeded(Bert).eval(), texts()
    assert branch in ll.find_blocks(model, inputs, branches=True)
    ticket = ll.prune(model, [branch], example=inputs)
    assert (ticket.removed_blocks, len(ticket.kept)) == ([branch], 5)
    expected = silenced(model, f"layers.1.{last}")(**inputs).logits
    torch.testing.assert_close(ticket.model(**inputs).logits, expected)


class Places(nn.Module):
    """Words and their places, both from the ids, as MPNet's."""

    def __init__(self, words):
        super().__init__()
        self.words, self.places = words, nn.Embedding(20, words.embedding_dim)

    def forward(self, ids):
        return self.words(ids) + self.places((ids > 0).cumsum(1) % 20)


def test_a_sum_of_embeddings_is_no_block_and_holds_no_stage():
    model = seeded(Bert)
    model.words = Places(model.words)
    assert [block.name for block in residual_blocks(model, texts())] == ["layers.0", "layers.1", "layers.2"]


def test_a_ticket_of_bert_survives_its_file(tmp_path):
    ticket = ll.prune(seeded(Bert), ["layers.0", "layers.1"], example=texts())
    ll.save_ticket(ticket, tmp_path / "t")
    loaded = ll.load_ticket(tmp_path / "t", lambda: Bert())
    assert torch.equal(loaded.model.eval()(**texts()).logits, ticket.model.eval()(**texts()).logits)


@torch.no_grad()
def test_what_a_block_only_passes_on_is_passed_on_without_it(tmp_path):
    model = seeded(Sized).eval()
    blocks = ll.find_blocks(model, maps(side=4))
    assert list(blocks) == ["blocks.0", "blocks.2", "blocks.3"]
    ticket = ll.prune(model, list(blocks))
    silent = silenced(model, *(f"{name}.branch" for name in blocks))
    torch.testing.assert_close(ticket.model(maps(side=4)), silent(maps(side=4)))
    # at another size it passes on another size
    torch.testing.assert_close(ticket.model(maps(side=8)), silent(maps(side=8)))
    ll.save_ticket(ticket, tmp_path / "t")
    assert torch.equal(ll.load_ticket(tmp_path / "t", Sized).model.eval()(maps(side=4)), ticket.model(maps(side=4)))


def test_facts_of_a_removal_are_what_they_were():
    assert Removal().facts() == {"stays": [], "stubs": {}, "extra": False}
    one = Removal(("norm",), {"a": -3}, extra=True, gives=2, passes=("1",))
    assert Removal.from_facts(one.facts()) == one
    with pytest.raises(ll.LayerLotteryError, match="removals: found a tuple of 200"):
        Removal.from_facts({"stays": [], "stubs": {"a": -200}, "extra": False})
