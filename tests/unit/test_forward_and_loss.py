"""Networks that take and give other things than images and logits; scores against gradients written by hand."""

import numpy as np
import pytest
import torch
from tests.unit.handed import Bert, Regressor, Segmenter, maps, seeded, texts
from tests.unit.plain import Plain, made
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import layerlottery as ll

LABELS = torch.arange(6) % 3
MASKS = torch.randint(3, (6, 8, 8), generator=torch.Generator().manual_seed(8))
TIMES = torch.linspace(-1, 1, 6)
TARGETS = torch.linspace(0, 3, 6)


def by_hand(model, names, loss):
    """SNIP: sums of |weight · gradient| over matrices in each block."""
    model.eval()
    loss.backward()
    matrices = {name: [one for one in model.get_submodule(name).parameters() if one.dim() > 1] for name in names}
    return {name: sum((one * one.grad).abs().sum().item() for one in held) for name, held in matrices.items()}


def test_a_dict_is_the_networks_arguments():
    scores = ll.score(seeded(Bert), (texts(), LABELS), "snip")
    model = seeded(Bert).eval()
    expected = by_hand(model, scores, F.cross_entropy(model(**texts()).logits, LABELS))
    assert scores == pytest.approx(expected, rel=1e-4)
    assert list(scores) == ["layers.0", "layers.1", "layers.2"]


@pytest.mark.parametrize("name", ["labels", "label"])
def test_labels_may_lie_in_the_dict(name):
    given = texts() | {name: LABELS}
    assert ll.score(seeded(Bert), given, "snip") == ll.score(seeded(Bert), (texts(), LABELS), "snip")
    assert ll.score(seeded(Bert), [given], "snip") == ll.score(seeded(Bert), [(texts(), LABELS)], "snip")


@pytest.mark.parametrize("criterion", ["grasp", "snip", "kl", "loss", "cka", "block_influence", "expectabs", "pls"])
def test_token_ids_alone_and_in_a_dict_are_the_same(criterion):
    ids = texts()["input_ids"]
    alone = ll.score(seeded(Bert), (ids, LABELS), criterion)
    assert alone == ll.score(seeded(Bert), ({"input_ids": ids}, LABELS), criterion)
    called = ll.score(seeded(Bert), (ids, LABELS), criterion, forward=lambda model, given: model(given).logits)
    assert called == alone


def test_batches_of_dicts_add_up_to_one():
    halves = [({name: one[part] for name, one in texts().items()}, LABELS[part]) for part in (slice(3), slice(3, 6))]
    whole = ll.score(seeded(Bert), (texts(), LABELS), ll.CriterionSettings(function="snip", products="signed"))
    found = ll.score(seeded(Bert), halves, ll.CriterionSettings(function="snip", products="signed"))
    assert found == pytest.approx(whole, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("criterion", ["kl", "loss", "cka", "block_influence", "expectabs"])
def test_parts_of_dicts_add_up_to_all(criterion, monkeypatch):
    whole = ll.score(seeded(Bert), (texts(), LABELS), criterion)
    monkeypatch.setattr("layerlottery.criteria.batches.PIXELS_AT_A_TIME", 2)
    assert ll.score(seeded(Bert), (texts(), LABELS), criterion) == pytest.approx(whole, rel=1e-5, abs=1e-8)


def test_masks_are_labels_of_maps():
    scores = ll.score(seeded(Segmenter), (maps(), MASKS), "snip")
    model = seeded(Segmenter)
    expected = by_hand(model, scores, F.cross_entropy(model(maps())["out"], MASKS))
    assert scores == pytest.approx(expected, rel=1e-4)


def test_a_loss_over_everything_a_network_answers():
    def both(outputs, masks):
        return F.cross_entropy(outputs["out"], masks) + 0.5 * F.cross_entropy(outputs["aux"], masks)

    model = seeded(Segmenter)
    # the auxiliary head is not behind the blocks, so it changes no score
    found = ll.score(model, (maps(), MASKS), "snip", forward=lambda model, x: model(x), loss=both)
    assert found == pytest.approx(ll.score(model, (maps(), MASKS), "snip"), rel=1e-4)
    ignoring = nn.CrossEntropyLoss(ignore_index=255)
    masks = MASKS.clone()
    masks[:, 0] = 255
    scores = ll.score(model, (maps(), masks), "snip", loss=ignoring)
    assert scores == pytest.approx(by_hand(model, scores, ignoring(model(maps())["out"], masks)), rel=1e-4)


@pytest.mark.parametrize("given", [{"image": maps(), "time": TIMES}, (maps(), TIMES)], ids=["by name", "in order"])
@pytest.mark.parametrize("criterion", ["snip", "grasp", "loss"])
def test_regression(given, criterion):
    found = ll.score(seeded(Regressor), (given, TARGETS), criterion, loss=F.mse_loss)
    called = ll.score(
        seeded(Regressor),
        ({"x": maps(), "t": TIMES}, TARGETS),
        criterion,
        forward=lambda model, batch: model(batch["x"], time=batch["t"]),
        loss=lambda outputs, targets: ((outputs - targets) ** 2).mean(),
    )
    assert found == pytest.approx(called, rel=1e-4)
    model = seeded(Regressor).eval()
    if criterion == "snip":
        assert found == pytest.approx(by_hand(model, found, F.mse_loss(model(maps(), TIMES), TARGETS)), rel=1e-4)
    if criterion == "loss":
        for name, value in found.items():
            small = ll.prune(model, [name], example={"image": maps(), "time": TIMES}).model
            assert value == pytest.approx(F.mse_loss(small(maps(), TIMES), TARGETS).item(), rel=1e-5)


def test_grasp_of_a_loss_of_ones_own_is_that_of_its_hessian():
    settings = ll.CRITERIA["grasp"]
    found = ll.score(seeded(Regressor), ((maps(), TIMES), TARGETS), settings, loss=F.mse_loss)
    model = seeded(Regressor).eval()
    parameters = list(model.parameters())
    gradients = torch.autograd.grad(F.mse_loss(model(maps(), TIMES), TARGETS), parameters, create_graph=True)
    flow = sum((one * one.detach()).sum() for one in gradients)
    products = torch.autograd.grad(flow, parameters, materialize_grads=True)
    pairs = zip(model.named_parameters(), products, strict=True)
    held = {name: -(one * product).sum().item() for (name, one), product in pairs}
    expected = {name: settings.sign * held[f"{name}.conv.weight"] for name in found}
    assert found == pytest.approx(expected, rel=1e-3, abs=1e-9)


@pytest.mark.parametrize("criterion", ["expectabs", "kl", "cka", "block_influence", "px", "l1", "synflow"])
def test_images_alone_do_where_a_criterion_needs_no_labels(criterion):
    images, model = maps(side=6), made()
    expected = ll.score(model, (images, LABELS), criterion)
    loader = DataLoader(TensorDataset(images), batch_size=6)
    for given in (images, (images, None), loader, iter([images])):
        assert ll.score(model, given, criterion) == expected


class WithoutHead(Plain):
    """Gives features, not logits."""

    def forward(self, x):
        return {"features": self.units(self.first(x))}


@pytest.mark.parametrize("criterion", ["expectabs", "block_influence", "l1"])
def test_criteria_of_blocks_ask_for_no_logits(criterion):
    expected = ll.score(made(), (maps(side=6), LABELS), criterion)
    assert ll.score(made(WithoutHead), maps(side=6), criterion) == expected


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ll.score(seeded(Bert), texts(), "snip"), r"^batch: found a dict; allowed.*; snip needs labels$"),
        (lambda: ll.score(seeded(Bert), (texts(), LABELS), "synflow"), "synflow needs images, a tensor of floats"),
        (lambda: ll.score(seeded(Segmenter), (maps(), MASKS), "pls"), r"labels are \(6, 8, 8\); pls needs a class for"),
        (lambda: ll.score(seeded(Segmenter), maps(), "kl"), r"gives \(6, 3, 8, 8\); this criterion needs logits"),
        (lambda: ll.score(seeded(Segmenter), (maps(), LABELS), "snip"), r"^forward: gives a tensor .*with loss= what"),
        (lambda: ll.find_blocks(seeded(Regressor), maps()), r"several inputs \(image, time\); .*dict.*forward="),
        (lambda: ll.find_blocks(made(), maps(), forward=3), "^forward: found int; allowed: a function"),
        (lambda: ll.score(made(), (maps(side=6), LABELS), "snip", loss="mse"), "^loss: found str; allowed: a function"),
        (
            lambda: ll.score(made(), (maps(side=6), LABELS), "snip", head="zero"),
            "^head: found 'zero'; allowed: None, r",
        ),
        (
            lambda: ll.score(made(), (maps(side=6), LABELS), "snip", loss=lambda outputs, targets: outputs),
            r"^loss: gives a tensor \(6, 3\); allowed: a tensor of one number",
        ),
        (lambda: ll.find_blocks(seeded(Bert), {"input_ids": 3}), "^example: found dict; allowed: a batch"),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(call, message):
    with pytest.raises(ll.LayerLotteryError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_a_last_layer_of_zeros_is_named_with_what_helps():
    model = made()
    nn.init.zeros_(model.last.weight)
    batch = maps(side=6), LABELS
    with pytest.raises(ll.LayerLotteryError, match=r"snip gave all 3 blocks.*head='random' scores a copy"):
        ll.score(model, batch, "snip")
    scores = ll.score(model, batch, "snip", head="random")
    assert len(set(scores.values())) == 3
    assert not model.last.weight.any()
    ticket = ll.find_ticket(model, batch, "snip", head="random", remove=1)
    assert ticket.removed_blocks == [min(scores, key=scores.get)]
    assert not ticket.model.last.weight.any()
    assert ll.score(model, batch, "snip", head="random", seed=1) != scores


def test_scores_with_a_random_head_are_those_of_a_network_with_it():
    model = made()
    nn.init.zeros_(model.last.weight)
    settings = ll.CriterionSettings(function="snip", batchnorm="eval")
    scores = ll.score(model, (maps(side=6), LABELS), settings, head="random")
    weights = []

    def seen(model, blocks, batches, *, seed):
        weights.append(model.last)
        return {block.name: float(place) for place, block in enumerate(blocks)}

    ll.score(model, (maps(side=6), LABELS), seen, head="random")
    model.last.load_state_dict(weights[0].state_dict())
    again = ll.score(model, (maps(side=6), LABELS), settings)
    assert scores == pytest.approx(again)
    assert weights[0].weight.std().item() == pytest.approx(0.02, rel=0.6)
    assert not weights[0].bias.any()


def test_files_do_not_leave_out_unsaid_how_a_network_is_called(tmp_path):
    def halved(model, images):
        return model(images / 2)

    ticket = ll.find_ticket(made(Plain), (maps(6), LABELS), "snip", remove=1, forward=halved)
    # the network alone computes something else
    for export, name in ((ll.export_onnx, "x.onnx"), (ll.export_program, "x.pt2")):
        with pytest.raises(ll.LayerLotteryError, match=r"^forward: this ticket was found with one, which a file"):
            export(ticket, tmp_path / name)
    ll.save_ticket(ticket, tmp_path / "x.safetensors")
    with pytest.raises(
        ll.LayerLotteryError, match=r"^forward: found none; allowed: the one .*x\.safetensors was found with"
    ):
        ll.load_ticket(tmp_path / "x.safetensors", lambda: made(Plain))
    loaded = ll.load_ticket(tmp_path / "x.safetensors", lambda: made(Plain), forward=halved)
    assert loaded.forward is halved
    assert loaded.latency(maps(6), rounds=1).batch_size == 6
    assert [*tmp_path.iterdir()] == [tmp_path / "x.safetensors"]


@pytest.mark.parametrize("seed", ["a", None, 1.5, True])
def test_a_seed_is_a_whole_number(seed):
    with pytest.raises(ll.LayerLotteryError, match=rf"^seed: found {seed!r}; allowed: a whole number$"):
        ll.score(made(Plain), (maps(6), LABELS), "random", seed=seed)


@pytest.mark.parametrize("value", [np.zeros(3), np.array([1, 2]), torch.ones(2)], ids=["floats", "whole", "tensor"])
@pytest.mark.parametrize("key", ["remove", "remove_flops", "remove_params", "minimum_per_stage", "seed", "head"])
def test_an_array_is_no_number_and_no_name(key, value):
    with pytest.raises(ll.LayerLotteryError, match=f"^{key}: found (array|tensor).*; allowed: "):
        ll.find_ticket(made(Plain), (maps(6), LABELS), **({"remove": 1} if "remove" not in key else {}) | {key: value})


@pytest.mark.parametrize("value", [True, np.True_, torch.tensor(True)], ids=["python", "numpy", "torch"])
@pytest.mark.parametrize("key", ["remove", "remove_flops", "remove_params", "minimum_per_stage", "seed"])
def test_a_truth_value_is_no_number(key, value):
    with pytest.raises(ll.LayerLotteryError, match=f"^{key}: found .*True.*; allowed: "):
        ll.find_ticket(made(Plain), (maps(6), LABELS), **({"remove": 1} if "remove" not in key else {}) | {key: value})


def test_a_seed_of_numpy_s_draws_what_python_s_does():
    batch = (maps(6), LABELS)
    drawn = [ll.score(made(Plain), batch, "random", seed=seed) for seed in (np.int64(3), torch.tensor(3), 3)]
    assert drawn[0] == drawn[1] == drawn[2] != ll.score(made(Plain), batch, "random", seed=4)


@pytest.mark.parametrize("criterion", ["synflow", "px", "ntk_sap"])
def test_criteria_of_the_output_alone_say_that_they_need_a_tensor(criterion):
    class Two(Plain):
        def forward(self, images):
            logits = super().forward(images)
            return logits, 2 * logits

    with pytest.raises(ll.LayerLotteryError, match=r"^forward: gives a tuple; allowed: logits, a tensor; or say"):
        ll.score(seeded(Two), torch.rand(4, 3, 6, 6), criterion)


def test_the_shape_that_is_told_is_that_of_the_whole_batch():
    images = torch.rand(6, 3, 6, 6)
    with pytest.raises(ll.LayerLotteryError, match=r"^forward: gives a tensor \(6, 3\); .* for labels \(6, 1\)"):
        ll.score(made(), (images, LABELS[:, None]), "snip")


@pytest.mark.parametrize("kind", [list, lambda one: {"classes": one.tolist(), "weights": torch.ones(3)}])
def test_targets_that_are_lists_are_cut_with_their_images(kind, monkeypatch):
    images = torch.rand(6, 3, 6, 6, generator=torch.Generator().manual_seed(3))

    def loss(logits, targets):
        classes = targets["classes"] if isinstance(targets, dict) else targets
        return F.cross_entropy(logits, torch.tensor([int(one) for one in classes]))

    expected = ll.score(made(), (images, LABELS), "loss")
    assert ll.score(made(), (images, kind(LABELS)), "loss", loss=loss) == pytest.approx(expected, rel=1e-5)
    # three images, as many as there are weights
    monkeypatch.setattr("layerlottery.criteria.batches.FEWEST_IMAGES", 3)
    monkeypatch.setattr("layerlottery.criteria.batches.CACHED_PIXELS", 1)
    assert ll.score(made(), (images, kind(LABELS)), "loss", loss=loss) == pytest.approx(expected, rel=1e-5)
