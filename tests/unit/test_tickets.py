"""The library on networks of a user's own: tickets, files, states left alone, and what bad input is told."""

import copy

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import layerlottery as ll
from layerlottery.cost.network import macs, parameters, training_memory
from layerlottery.criteria.score import score_blocks
from layerlottery.store.artifacts import read_tensors

LAYER_CRITERIA = [name for name, chosen in ll.CRITERIA.items() if chosen.fits("layers")]


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        self.dropout = nn.Dropout(0.3)

    def forward(self, x):
        return F.relu(x + self.bn2(self.conv2(self.dropout(F.relu(self.bn1(self.conv1(x)))))))


class Own(nn.Module):
    """A stem with ReLU, four blocks, a classifier of 4 classes for images (3, 8, 8)."""

    def __init__(self, width=4, blocks=4):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, 1, 1), nn.ReLU())
        self.blocks = nn.Sequential(*(Block(width) for _ in range(blocks)))
        self.head = nn.Linear(width, 4)

    def forward(self, x):
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


@pytest.fixture
def model():
    torch.manual_seed(3)
    return Own()


@pytest.fixture
def batch():
    draw = torch.Generator().manual_seed(5)
    return torch.randn(12, 3, 8, 8, generator=draw), torch.arange(12) % 4


NAMES = ["blocks.0", "blocks.1", "blocks.2", "blocks.3"]


def test_blocks_have_their_module_names(model, batch):
    blocks = ll.find_blocks(model, batch[0])
    assert list(blocks) == NAMES
    assert {block.shape for block in blocks.values()} == {(4, 8, 8)}


def test_prune_makes_a_smaller_copy_and_leaves_the_model(model, batch):
    before = copy.deepcopy(model.state_dict())
    small = ll.prune(model, ["blocks.1", "blocks.3"], example=batch[0]).model
    assert [type(block) for block in small.blocks] == [Block, nn.Identity, Block, nn.Identity]
    assert parameters(small) == parameters(model) - 2 * (2 * 4 * 4 * 9 + 4 * 4)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(torch.equal(before[name], value) for name, value in small.state_dict().items())
    small.blocks[0].conv1.weight.data.zero_()
    assert model.blocks[0].conv1.weight.any()


def test_an_activation_stays_where_what_flows_in_may_be_negative(batch):
    model = Own()
    model.stem = model.stem[0]  # no ReLU before the first block
    small = ll.prune(model.eval(), ["blocks.0"], example=batch[0]).model
    x = model.stem(batch[0])
    torch.testing.assert_close(small.blocks[0](x), F.relu(x))
    assert (x < 0).any()
    assert ll.find_blocks(model, batch[0])["blocks.0"].removal.stays == ("nn.ReLU",)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("criterion", LAYER_CRITERIA)
def test_scoring_leaves_everything_as_it_was(criterion, training, model, batch):
    model.train(training)
    model.head.weight.grad = torch.ones_like(model.head.weight)
    model.blocks[1].eval()
    modes = {name: module.training for name, module in model.named_modules()}
    seen = []
    model.register_forward_hook(lambda *_: seen.append(1))
    hooks = len(model._forward_hooks)
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    first = ll.score(model, batch, criterion)
    assert list(first) == NAMES
    assert torch.equal(state, torch.get_rng_state())
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.equal(model.head.weight.grad, torch.ones_like(model.head.weight))
    assert sum(parameter.grad is not None for parameter in model.parameters()) == 1
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert len(model._forward_hooks) == hooks
    torch.manual_seed(99)
    assert ll.score(model, batch, criterion) == first


def test_snip_is_the_sum_of_weights_times_gradients(model, batch):
    scores = ll.score(model, batch, ll.CriterionSettings(function="snip", batchnorm="eval"))
    model.eval()
    F.cross_entropy(model(batch[0]), batch[1]).backward()
    for name, value in scores.items():
        block = model.get_submodule(name)
        own = sum((conv.weight * conv.weight.grad).abs().sum().item() for conv in (block.conv1, block.conv2))
        assert value == pytest.approx(own, rel=1e-5)


@pytest.mark.parametrize("criterion", ["snip", "grasp", "kl", "cka", "expectabs", "hrank", "pls", "consensus"])
def test_many_batches_give_what_one_gives(criterion, model, batch):
    chosen = ll.CRITERIA[criterion].model_copy(update={"batchnorm": "eval", "products": "signed"})
    whole = ll.score(model, batch, chosen)
    loader = DataLoader(TensorDataset(*batch), batch_size=5)
    once = iter([(images, labels) for images, labels in loader])
    for batches in (loader, [(images, labels) for images, labels in loader], once):
        assert ll.score(model, batches, chosen) == pytest.approx(whole, rel=1e-4, abs=1e-7)


def test_a_ticket_goes_by_its_scores(model, batch):
    scores = ll.score(model, batch, "snip")
    ticket = ll.find_ticket(model, batch, "snip", remove=2)
    lowest = sorted(scores, key=scores.get)[:2]
    assert set(ticket.removed_blocks) == set(lowest)
    assert (ticket.scores, ticket.kept) == (scores, [name for name in NAMES if name not in lowest])
    # a block: two 3x3 convolutions of 4 channels on 8x8 pixels
    assert ticket.cost.macs_before - ticket.cost.macs == 2 * 2 * 4 * 4 * 9 * 64
    assert ticket.cost.params_before - ticket.cost.params == 2 * (2 * 4 * 4 * 9 + 4 * 4)
    assert ticket.cost.memory == training_memory(ticket.model, (3, 8, 8), batch_size=12).total
    assert ticket.cost.memory < ticket.cost.memory_before


@pytest.mark.parametrize("target", ["remove_flops", "remove_params"])
def test_a_target_takes_the_fewest_blocks_that_reach_it(target, model, batch):
    count = {"remove_flops": lambda one: macs(one, (3, 8, 8)), "remove_params": parameters}[target]
    for share in (0.0, 0.2, 0.45, 0.6):
        ticket = ll.find_ticket(model, batch, "l1", **{target: share})
        assert 1 - count(ticket.model) / count(model) >= share
        if ticket.removed_blocks:
            larger = ll.find_ticket(model, batch, "l1", remove=len(ticket.removed_blocks) - 1)
            assert 1 - count(larger.model) / count(model) < share


def test_a_ticket_survives_its_file(tmp_path, model, batch):
    ticket = ll.find_ticket(model, batch, "grasp", remove=2)
    ll.save_ticket(ticket, tmp_path / "ticket.safetensors")
    again = ll.load_ticket(tmp_path / "ticket.safetensors", Own)
    torch.testing.assert_close(again.model.eval()(batch[0]), ticket.model.eval()(batch[0]), rtol=0, atol=0)
    for field in ("removed_blocks", "kept", "scores", "cost", "criterion", "removals", "image_shape", "ties"):
        assert getattr(again, field) == getattr(ticket, field)
    with pytest.raises(
        ll.LayerLotteryError, match=r"ticket.safetensors: does not fit Own of the factory; size mismatch"
    ):
        ll.load_ticket(tmp_path / "ticket.safetensors", lambda: Own(width=5))
    with pytest.raises(ll.LayerLotteryError, match=r"ticket.safetensors: does not fit Own .*: Own has no such module"):
        ll.load_ticket(tmp_path / "ticket.safetensors", lambda: Own(blocks=0))
    with pytest.raises(ll.LayerLotteryError, match=r"^model_factory: gives a NoneType; allowed: the whole network"):
        ll.load_ticket(tmp_path / "ticket.safetensors", lambda: None)


def test_an_example_that_no_finite_answer_follows_from_shows_nothing(model, batch):
    for value in (float("nan"), float("inf")):
        with pytest.raises(ll.LayerLotteryError, match=r"^example: Own answers it with no finite number"):
            ll.find_blocks(model, torch.full_like(batch[0], value))


def test_a_damaged_or_foreign_file_is_refused(tmp_path, model, batch):
    path = tmp_path / "ticket.safetensors"
    ll.save_ticket(ll.find_ticket(model, batch, "l1", remove=1), path)
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(ll.LayerLotteryError, match=r"ticket\.safetensors"):
        ll.load_ticket(path, Own)


def test_branches_of_a_transformer_go_singly_and_survive_their_file(tmp_path, batch):
    def factory():
        torch.manual_seed(0)
        made = torchvision.models.VisionTransformer(8, 4, 3, 2, 12, 24, num_classes=4)
        nn.init.normal_(made.heads[-1].weight)
        return made

    ticket = ll.find_ticket(factory(), batch, "snip", remove=3, branches=True)
    assert len(ticket.scores) == 6
    ll.save_ticket(ticket, tmp_path / "ticket.safetensors")
    again = ll.load_ticket(tmp_path / "ticket.safetensors", factory)
    torch.testing.assert_close(again.model.eval()(batch[0]), ticket.model.eval()(batch[0]))
    assert read_tensors(tmp_path / "ticket.safetensors")[1]["removals"].keys() == set(ticket.removed_blocks)


def test_wrapped_models_give_what_the_network_inside_gives(model, batch):
    expected = ll.score(model, batch, "grasp")
    for wrapped in (nn.DataParallel(model), torch.compile(model, backend="eager")):
        assert list(ll.find_blocks(wrapped, batch[0])) == NAMES
        assert ll.score(wrapped, batch, "grasp") == expected
        assert type(ll.prune(wrapped, ["blocks.2"], example=batch[0]).model) is Own


def test_a_network_with_compiled_parts(model, batch):
    expected = ll.score(model, batch, "snip")
    model.blocks[1] = torch.compile(model.blocks[1], backend="eager")
    scores = ll.score(model, batch, "snip")
    assert list(scores.values()) == pytest.approx(list(expected.values()))


def test_a_criterion_of_ones_own(model, batch):
    def by_name(model, blocks, batches, *, seed):
        assert [len(labels) for _, labels in batches] == [12]
        assert not model.training
        return {block.name: -float(block.name[-1]) for block in blocks}

    assert ll.find_ticket(model, batch, by_name, remove=1).removed_blocks == ["blocks.3"]
    with pytest.raises(ll.LayerLotteryError, match=r"<lambda>.*returned no score for block blocks.0"):
        ll.score(model, batch, lambda *given, seed: {})


def test_a_minimum_stays_in_each_stage(model, batch):
    with pytest.raises(ll.LayerLotteryError, match="remove: found 4; this network allows 0 to 3 blocks"):
        ll.find_ticket(model, batch, "l1", remove=4)
    with pytest.raises(ll.LayerLotteryError, match="remove: found 2; this network allows 0 to 1 blocks"):
        ll.find_ticket(model, batch, "l1", remove=2, minimum_per_stage=3)
    assert len(ll.find_ticket(model, batch, "l1", remove=4, minimum_per_stage=0).removed_blocks) == 4


class TwoInputs(nn.Module):
    def forward(self, images, mask):
        return images


class Twice(Own):
    def forward(self, x):
        x = self.stem(x)
        for _ in range(2):
            x = self.blocks(x)
        return self.head(x.mean((2, 3)))


IMAGES, LABELS = torch.zeros(4, 3, 8, 8), torch.arange(4)
SPOILT = IMAGES.index_fill(0, LABELS[1:2], float("nan"))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: ll.score(m, (IMAGES, LABELS + 1), "snip"), r"^batch: label 4 is out of range; .* allows 0 to 3$"),
        (lambda m: ll.score(m, (IMAGES, LABELS - 1), "snip"), r"^batch: label -1 is out of range"),
        (lambda m: ll.score(m, [(IMAGES, LABELS), (IMAGES, LABELS + 1)], "snip"), r"label 4 is out of range"),
        (lambda m: ll.score(m, (IMAGES[:, :2], LABELS), "snip"), r"^images: Own can't take the shape \(2, 2, 8, 8\)"),
        (lambda m: ll.score(m, (IMAGES, LABELS[:3]), "snip"), r"^batch: found images \(4, 3, 8, 8\) and labels \(3,\)"),
        (
            lambda m: ll.score(m, (IMAGES, LABELS.float()), "snip"),
            r"^batch: labels are torch.float32; allowed: whole",
        ),
        (
            lambda m: ll.score(m, (IMAGES.to("meta"), LABELS), "snip"),
            r"^batch: images are on meta; the network is on cpu$",
        ),
        (lambda m: ll.score(m, IMAGES, "snip"), r"^batch: found a tensor \(4, .*allowed: \(images, labels\)"),
        (lambda m: ll.score(m, [], "snip"), r"^batch: found an iterable that gives none"),
        (lambda m: ll.score(m, None, "snip"), r"^batch: found none; snip needs images and labels$"),
        (lambda m: ll.score(m, (IMAGES, LABELS), "snap"), r"^criterion: found 'snap'; allowed: random, "),
        (lambda m: ll.score(m, (IMAGES, LABELS), "complexity_macs"), r"^criterion: complexity_macs scores no blocks"),
        (
            lambda m: ll.score(m.stem, (IMAGES, LABELS), "snip"),
            r"^forward: gives a tensor \(4, 4, 8, 8\); allowed: logits",
        ),
        (
            lambda m: ll.find_blocks(TwoInputs(), IMAGES),
            r"^TwoInputs: .* several inputs \(images, mask\); allowed: one",
        ),
        (lambda m: ll.find_blocks(Twice(), IMAGES), r"blocks\.0: it is used 2 times"),
        (
            lambda m: ll.prune(Twice(), ["blocks.0"], example=IMAGES),
            r"^block 'blocks\.0' can't be removed: it is used 2",
        ),
        (lambda m: ll.prune(m.add_module("z", m.blocks[1]) or m, ["z"], example=IMAGES), r"same module as blocks\.1"),
        (lambda m: ll.prune(m, [["blocks.0"]], example=IMAGES), r"^remove: found \['blocks\.0'\]; allowed: names"),
        (lambda m: ll.score(m, (SPOILT, LABELS), "snip"), r"gave nan; .* numbers, and a batch holds some that are not"),
        (lambda m: ll.prune(m, ["head"], example=IMAGES), r"^block 'head' can't be removed: it is no residual block"),
        (lambda m: ll.prune(m, ["tail"], example=IMAGES), r"^block 'tail' can't be removed: Own has no module of this"),
        (
            lambda m: ll.find_ticket(m, (IMAGES, LABELS), "l1", remove_flops=0.99),
            r"^remove_flops: found 0.99; removing all 3 blocks",
        ),
        (
            lambda m: ll.find_ticket(m, (IMAGES, LABELS), "l1", remove_params=0.99),
            r"^remove_params: found 0.99; removing all 3 blocks",
        ),
        (
            lambda m: ll.find_ticket(m, (IMAGES, LABELS), "l1"),
            r"^target: found none; allowed: one of remove, remove_flops",
        ),
        (
            lambda m: ll.find_ticket(m, (IMAGES, LABELS), "l1", remove=1, remove_flops=0.1),
            r"^target: found remove, remove_flops",
        ),
        (lambda m: ll.score(m, (IMAGES, LABELS), "kl"), r"^criterion: kl gave all 4 blocks the same value, 0"),
    ],
)
def test_bad_input_is_told_in_one_line(call, message, model):
    if "kl gave" in message:
        nn.init.zeros_(model.head.weight)
    with pytest.raises(ll.LayerLotteryError, match=message) as caught:
        call(model)
    assert "\n" not in str(caught.value)


def test_a_removal_that_changes_a_shape_is_refused(batch):
    model = torchvision.models.resnet18(num_classes=4)
    with pytest.raises(
        ll.LayerLotteryError, match=r"'layer2\.0' can't be removed: its removal changes a shape: it takes"
    ):
        ll.prune(model, ["layer2.0"])


@pytest.mark.parametrize(
    ("criterion", "message"),
    [
        ("synflow", "synflow needs outputs that grow with every weight, so it allows no attention"),
        ("hrank", "hrank takes the ranks of maps"),
    ],
)
def test_criteria_say_where_they_make_no_sense(criterion, message, batch):
    model = torchvision.models.VisionTransformer(8, 4, 2, 2, 12, 24, num_classes=4)
    with pytest.raises(ll.LayerLotteryError, match=message):
        ll.score(model, batch, criterion)


def test_hrank_takes_maps_whose_channels_come_last(batch):
    torch.manual_seed(0)
    model = torchvision.models.SwinTransformer([4, 4], 12, [2, 2], [2, 2], [2, 2], num_classes=4)
    images = torch.randn(4, 3, 32, 32)
    blocks = list(ll.find_blocks(model, images).values())
    scores = score_blocks(model, (images, torch.arange(4)), ll.CRITERIA["hrank"], blocks=blocks)
    found = {}
    block = model.features[1][1]
    block.register_forward_hook(lambda module, given, out: found.update(maps=out.detach()))
    model.eval()(images)
    ranks = torch.linalg.matrix_rank(found["maps"].permute(0, 3, 1, 2)).double().mean() / 8
    # maps of 8 x 8; taken as rows of 12 channels they would have 8 / 12 at most
    assert scores["features.1.1"] == pytest.approx(ranks.item(), rel=1e-2)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_everything_gives_what_the_processor_gives(model, batch):
    expected = ll.find_ticket(model, batch, "grasp", remove=2)
    found = ll.find_ticket(model.cuda(), tuple(one.cuda() for one in batch), "grasp", remove=2)
    assert found.removed_blocks == expected.removed_blocks
    assert found.scores == pytest.approx(expected.scores, rel=1e-2)


def test_grasp_where_torch_has_no_second_derivative(batch):
    class Gated(Block):
        gate = nn.Hardsigmoid()

        def forward(self, x):
            return F.relu(x + self.gate(x) * self.bn1(self.conv1(x)))

    class ByParts(Gated):
        gate = nn.Sequential()

        def forward(self, x):
            return F.relu(x + F.hardtanh(x + 3, 0, 6) / 6 * self.bn1(self.conv1(x)))

    scores = []
    for kind in (Gated, ByParts):
        torch.manual_seed(0)
        model = Own()
        model.blocks = nn.Sequential(kind(4), kind(4))
        scores.append(ll.score(model, batch, "grasp"))
    assert scores[0] == pytest.approx(scores[1], rel=1e-4)


def test_a_classifier_may_be_a_convolution(batch):
    class Convolutional(Own):
        def __init__(self):
            super().__init__()
            self.head = nn.Conv2d(4, 4, 1)

        def forward(self, x):
            return self.head(self.blocks(self.stem(x)).mean((2, 3), keepdim=True)).flatten(1)

    torch.manual_seed(0)
    model, linear = Convolutional(), Own()
    state = model.state_dict()
    linear.load_state_dict(state | {"head.weight": state["head.weight"].flatten(1)})
    assert ll.score(model, batch, "cka") == pytest.approx(ll.score(linear, batch, "cka"), rel=1e-5)
