"""What people's own networks and batches bring along, and what the library leaves as it was."""

import random

import numpy as np
import pytest
import torch
import torchvision
from tests.unit.plain import Plain, made
from torch import nn
from torch.nn.utils import prune
from torch.utils.data import DataLoader, Dataset, TensorDataset

import layerlottery as ll
from layerlottery.data.batches import split
from layerlottery.networks.copies import copied


@pytest.fixture
def batch():
    draw = torch.Generator().manual_seed(2)
    return torch.rand(6, 3, 6, 6, generator=draw), torch.arange(6) % 3


def with_graphs():
    stored = made()
    stored.seen = {"early": [stored.first(torch.rand(1, 3, 6, 6))]}
    hooked, outputs = made(), []
    hooked.units[1].register_forward_hook(lambda module, given, out: outputs.append(out))
    hooked.outputs = outputs
    hooked(torch.rand(1, 3, 6, 6))
    running = made()
    running.average = running.last.weight * 0.9
    return {"stored": stored, "hooked": hooked, "running": running}


@pytest.mark.parametrize("which", ["stored", "hooked", "running"])
def test_networks_that_hold_tensors_of_a_graph_score_as_without(which, batch):
    assert ll.score(with_graphs()[which], batch, "snip") == ll.score(made(), batch, "snip")
    ticket = ll.find_ticket(with_graphs()[which], batch, "snip", remove=1)
    assert torch.isfinite(ticket.model(batch[0])).all()


@pytest.mark.parametrize("how", ["pruned", "old weight norm"])
def test_copies_of_weights_that_a_hook_computes_compute_the_same(how, batch):
    network = made()
    for unit in network.units:
        if how == "pruned":
            prune.random_unstructured(unit.outer, "weight", 0.5)
        else:
            nn.utils.weight_norm(unit.outer)
    twin = copied(network.eval())
    assert torch.equal(twin(batch[0]), network(batch[0]))
    assert list(ll.find_blocks(network, batch[0])) == ["units.0", "units.1", "units.2"]


def test_copies_share_what_the_network_shares():
    network = made()
    network.kept = network.last.weight * 2
    network.again = [network.kept]
    twin = copied(network)
    assert twin.kept is twin.again[0]
    assert twin.kept.grad_fn is None
    assert network.kept.grad_fn is not None


class Extra(Plain):
    def __init__(self, state):
        super().__init__()
        self.state = state

    def get_extra_state(self):
        return self.state

    def set_extra_state(self, state):
        self.state = state


@pytest.mark.parametrize("state", [{"steps": [1, 2.5, None]}, "text", torch.tensor([1.0, 2.0])], ids=str)
def test_extra_state_comes_back(state, batch, tmp_path):
    ticket = ll.find_ticket(Extra(state), batch, "l1", remove=1)
    ll.save_ticket(ticket, tmp_path / "t")
    back = ll.load_ticket(tmp_path / "t", lambda: Extra(None)).model.state
    assert torch.equal(back, state) if isinstance(state, torch.Tensor) else back == state


def test_extra_state_that_no_file_can_hold_is_named(batch, tmp_path):
    ticket = ll.find_ticket(Extra({"a": object()}), batch, "l1", remove=1)
    with pytest.raises(ll.LayerLotteryError, match=r"^_extra_state: holds a dict; a file takes tensors"):
        ll.save_ticket(ticket, tmp_path / "t")
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64, torch.complex64])
def test_weights_of_every_type_come_back_bit_for_bit(dtype, batch, tmp_path):
    def factory():
        network = made().to(torch.float32 if dtype.is_complex else dtype)
        network.register_buffer("more", torch.linspace(-1, 1, 5).to(dtype))
        return network

    images = batch[0].to(factory().first.weight.dtype)
    ticket = ll.find_ticket(factory(), (images, batch[1]), "l1", remove=1)
    ll.save_ticket(ticket, tmp_path / "t")
    back = ll.load_ticket(tmp_path / "t", factory)
    for name, one in ticket.model.state_dict().items():
        assert back.model.state_dict()[name].dtype is one.dtype
        assert torch.equal(back.model.state_dict()[name], one)
    assert "weights, SHA-256" in ll.model_card(back, name="typed")


def test_a_file_is_not_rounded_to_a_factorys_type(batch, tmp_path):
    images, labels = batch
    ll.save_ticket(ll.find_ticket(made().double(), (images.double(), labels), "l1", remove=1), tmp_path / "t")
    with pytest.raises(ll.LayerLotteryError, match=r"first.weight is torch.float64 in the file and torch.float32 in"):
        ll.load_ticket(tmp_path / "t", made)


class Drawing(Dataset):
    """Draws from all three generators at every image."""

    def __init__(self, images, labels):
        self.images, self.labels = images, labels

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, place):
        noise = torch.rand(()) + random.random() + np.random.rand()
        return (self.images[place] + noise).float(), self.labels[place]


def states():
    return torch.get_rng_state().tolist(), random.getstate(), str(np.random.get_state())


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("own", [None, 7])
def test_no_random_state_moves(shuffle, own, batch, tmp_path):
    generator = None if own is None else torch.Generator().manual_seed(own)
    loader = DataLoader(Drawing(*batch), batch_size=4, shuffle=shuffle, generator=generator)
    network, owned = made(), None if own is None else generator.get_state()
    before = states()
    ll.score(network, loader, "snip")
    ticket = ll.find_ticket(network, loader, drawn, remove=1)
    ll.prune(network, ticket.removed_blocks)
    ll.save_ticket(ticket, tmp_path / "t")
    ll.load_ticket(tmp_path / "t", made)
    ll.export_program(ticket, tmp_path / "t.pt2")
    assert states() == before
    assert owned is None or torch.equal(generator.get_state(), owned)


def drawn(model, blocks, batches, *, seed):
    """A criterion that draws from all three."""
    draw = np.random.rand
    return {block.name: random.random() + float(torch.rand(())) + draw() for block in blocks}


def small_maps():
    """Maps of one pixel: BatchNorm sees one value a channel and image."""
    torch.manual_seed(5)
    return torchvision.models.resnet18(num_classes=3)


@pytest.mark.parametrize("count", [5, 9])
def test_a_last_batch_of_one_joins_the_one_before(count):
    images, labels = torch.rand(count, 3, 32, 32), torch.arange(count) % 3
    loader = DataLoader(TensorDataset(images, labels), batch_size=4)
    joined = [(images[:-5], labels[:-5]), (images[-5:], labels[-5:])][count == 5 :]
    assert ll.score(small_maps(), loader, "snip") == ll.score(small_maps(), joined, "snip")


def test_one_image_alone_is_refused_in_one_line():
    with pytest.raises(
        ll.LayerLotteryError, match=r"^score: ValueError: Expected more than 1 value per channel"
    ) as one:
        ll.score(small_maps(), (torch.rand(1, 3, 32, 32), torch.tensor([0])), "snip")
    assert "\n" not in str(one.value)


@pytest.mark.parametrize(
    ("count", "size", "sizes"), [(9, 4, [4, 5]), (7, 3, [3, 4]), (8, 4, [4, 4]), (1, 4, [1]), (3, 1, [1, 1, 1])]
)
def test_an_epoch_ends_without_a_batch_of_one(count, size, sizes):
    batches = split(torch.arange(count), size)
    assert [len(one) for one in batches] == sizes
    assert torch.cat(list(batches)).tolist() == list(range(count))


class Failing(Plain):
    def before(self, x):
        raise ZeroDivisionError("first line\nsecond line")


def failing_criterion(model, blocks, batches, *, seed):
    return {}["nothing"]


class FailingSet(Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, place):
        raise KeyError("no such image")


@pytest.mark.parametrize(
    ("call", "cause"),
    [
        (lambda batch: ll.find_blocks(made(Failing), batch[0]), ZeroDivisionError),
        (lambda batch: ll.score(made(), batch, failing_criterion), KeyError),
        (lambda batch: ll.score(made(), DataLoader(FailingSet()), "snip"), KeyError),
        (lambda batch: ll.load_ticket("/nowhere/t", made), FileNotFoundError),
        (lambda batch: ll.save_ticket(ll.find_ticket(made(), batch, "l1", remove=1), "/dev/null/t"), OSError),
        (lambda batch: ll.prune(3, ["a"]), Exception),
    ],
    ids=["network", "criterion", "loader", "no file", "no folder", "no network"],
)
def test_whatever_fails_is_said_in_one_line(call, cause, batch):
    with pytest.raises(ll.LayerLotteryError) as found:
        call(batch)
    assert "\n" not in str(found.value)
    assert isinstance(found.value.__cause__, cause) or found.value.__cause__ is None


def test_the_line_names_the_place_in_a_users_code():
    place = r"KeyError: 'no such image' \(test_anyones_network.py, line \d+, in __getitem__\)$"
    with pytest.raises(ll.LayerLotteryError, match=place):
        ll.score(made(), DataLoader(FailingSet()), "snip")


class Tokens(nn.Module):
    """A transformer whose fast path reads attributes of its first layer."""

    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Linear(6, 8), nn.Linear(8, 3)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.body = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)

    def forward(self, x):
        return self.head(self.body(self.embed(x)).mean(1))


def test_a_block_that_the_network_reads_more_of_stays():
    net, tokens = made(Tokens), torch.rand(6, 5, 6)
    labels = torch.arange(6) % 3
    assert list(ll.find_blocks(net, tokens)) == ["body.layers.1", "body.layers.2"]
    for criterion in ("kl", "snip"):
        ticket = ll.find_ticket(net, (tokens, labels), criterion, remove=2)
        assert ticket.model(tokens).shape == (6, 3)
    with pytest.raises(ll.LayerLotteryError, match="can't run without it"):
        ll.prune(net, ["body.layers.0"], example=tokens)


@pytest.mark.parametrize("around", [torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu")])
def test_what_the_caller_is_in_the_middle_of_changes_no_score(around):
    net, labels = made(), torch.arange(6) % 3
    images = torch.rand(6, 3, 6, 6)
    plain = ll.score(net, (images, labels), "snip")
    with around():
        assert ll.score(net, (images, labels), "snip") == plain
        assert ll.score(net, (images.clone(), labels), "grasp").keys() == plain.keys()


@pytest.mark.parametrize("change", [{"batchnorm": "evl"}, {"batch_norm": "eval"}, {"temperature": -1.0}])
def test_a_criterion_changed_by_a_typo_is_refused(change):
    settings = ll.CRITERIA["snip"].model_copy(update=change)
    with pytest.raises(ll.LayerLotteryError, match=f"^criterion: .*{next(iter(change))}"):
        ll.score(made(), (torch.rand(6, 3, 6, 6), torch.arange(6) % 3), settings)


def test_a_generator_of_a_sampler_inside_a_batch_sampler_stays_where_it_is():
    data = TensorDataset(torch.rand(6, 3, 6, 6), torch.arange(6) % 3)
    generator = torch.Generator().manual_seed(4)
    sampler = torch.utils.data.BatchSampler(torch.utils.data.RandomSampler(data, generator=generator), 3, False)
    before = generator.get_state()
    ll.score(made(), DataLoader(data, batch_sampler=sampler), "snip")
    assert torch.equal(generator.get_state(), before)


def test_a_network_in_place_of_the_function_that_makes_it_is_named(tmp_path):
    with pytest.raises(ll.LayerLotteryError, match=r"^model_factory: found a Plain; allowed: a function"):
        ll.load_ticket(tmp_path / "ticket.safetensors", made())


def test_a_user_s_own_file_is_not_to_be_deleted(tmp_path):
    path = tmp_path / "mine.pt"
    torch.save({"a": torch.zeros(3)}, path)
    with pytest.raises(ll.LayerLotteryError, match="not a file of this project") as raised:
        ll.load_ticket(path, made)
    assert "delete" not in str(raised.value)
