"""What the stages do with functions of the user's own, shown by the examples of docs/extending.md."""

import json

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from layerlottery.config import extensions
from layerlottery.config.criteria import CriterionSettings
from layerlottery.config.data import CustomImages
from layerlottery.config.networks import CustomSettings
from layerlottery.criteria.own import scores_of
from layerlottery.criteria.score import rank_blocks, score
from layerlottery.data.own import load_own
from layerlottery.data.prepare import prepare
from layerlottery.data.prepared import FACTS, PreparedSet
from layerlottery.errors import LayerLotteryError
from layerlottery.networks.blocks import remove_blocks, residual_blocks
from layerlottery.networks.initialize import initialize_network
from layerlottery.networks.weights import load_network
from layerlottery.store.artifacts import read_facts
from layerlottery.store.hashing import derived_seed

CPU = torch.device("cpu")


# data sets


def test_the_example_set_is_prepared_as_any_other(stripes, example):
    held = PreparedSet.open(stripes / FACTS)
    expected = example("dataset").stripes(images=80)
    assert held.classes == expected.classes
    assert held.facts["counts"] == {"train": 60, "test": 40, "shifted": 40, "held_out": 0}
    assert np.array_equal(held.split("test").images, expected.test[0])
    assert np.array_equal(held.shifted()["noisy"].labels, expected.shifted["noisy"][1])
    assert np.bincount(held.split("train").labels).tolist() == [15] * 4
    pixels = held.split("train").images / 255
    assert held.mean == pytest.approx([pixels.mean()])
    assert held.std == pytest.approx([pixels.std()])


def test_stripes_vary_along_their_direction_alone(example):
    images, labels = example("dataset").stripes(images=8, noise=0.0).train
    assert np.ptp(images[labels == 0][:, 0], axis=2).max() == 0  # horizontal: rows are constant
    assert np.ptp(images[labels == 2][:, 0], axis=1).max() == 0
    assert np.ptp(images[labels == 1][:, 0].astype(int).diagonal(axis1=1, axis2=2), axis=1).min() > 100
    falling = images[labels == 3][:, 0].astype(int)
    assert np.abs(falling[:, 1:, 1:] - falling[:, :-1, :-1]).max() <= 1


def test_arrays_may_come_in_a_mapping_and_from_torch(write):
    function = write("""
import torch
def own(n):
    pair = (torch.zeros(n, 3, 8, 8, dtype=torch.uint8), torch.arange(n) % 2)
    return {"train": pair, "test": [pair[0].numpy(), [0] * n], "classes": ["a", "b"]}
""")
    found = load_own(CustomImages(source="custom", function=function, options={"n": 4}))
    assert found.train.labels.tolist() == [0, 1, 0, 1]
    assert found.test.labels.dtype == np.int64
    assert (found.classes, dict(found.shifted)) == (("a", "b"), {})


def test_a_memory_map_stays_on_disk(write):
    np.save("images.npy", np.ones((6, 1, 8, 8), dtype=np.uint8))
    function = write("""
import numpy as np
def own():
    held = np.load("images.npy", mmap_mode="r")
    pair = (held, np.zeros(6, dtype=int))
    return {"train": pair, "test": pair, "classes": ["a"]}
""")
    found = load_own(CustomImages(source="custom", function=function))
    assert np.shares_memory(found.train.images, found.test.images)
    assert not found.train.images.flags.writeable


SET = "import numpy as np\nok = (np.zeros((4, 1, 8, 8), np.uint8), np.arange(4) % 2)\ndef own():\n    return "


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        ("None", "returned NoneType, without train, test, classes; allowed are ImageArrays, or a mapping of train, "),
        ("{'train': ok}", "returned a mapping of train, without test, classes;"),
        ("dict(train=ok, test=ok, classes='ab', extra=1)", "returned the unknown field 'extra'; allowed: train, test"),
        ("dict(train=ok, test=ok, classes='ab')", "returned classes = ab; allowed are names, each once"),
        ("dict(train=ok, test=ok, classes=['a', 'a'])", "returned classes = ['a', 'a']; allowed are names, each once"),
        ("dict(train=ok, test=ok, classes=2)", "returned classes = 2; allowed are names"),
        ("dict(train=ok[0], test=ok, classes=['a', 'b'])", "returned train = ndarray; allowed is a pair"),
        (
            "dict(train=([[1], [1, 2]], [0]), test=ok, classes=['a'])",
            "returned train = a pair that is no pair of arrays",
        ),
        (
            "dict(train=(ok[0] / 255, ok[1]), test=ok, classes=['a', 'b'])",
            "returned train images float64 (4, 1, 8, 8);",
        ),
        ("dict(train=(ok[0][:, 0], ok[1]), test=ok, classes=['a', 'b'])", "returned train images uint8 (4, 8, 8);"),
        ("dict(train=ok, test=(ok[0][:0], ok[1][:0]), classes=['a', 'b'])", "returned test images uint8 (0, 1, 8, 8);"),
        (
            "dict(train=ok, test=(ok[0][:, :, 1:], ok[1]), classes=['a', 'b'])",
            "test images of 8x7 pixels; allowed are sq",
        ),
        (
            "dict(train=ok, test=(ok[0], ok[1][1:]), classes=['a', 'b'])",
            "returned test labels int64 (3,); allowed are int",
        ),
        (
            "dict(train=ok, test=(ok[0], ok[1] / 2), classes=['a', 'b'])",
            "returned test labels float64 (4,); allowed are",
        ),
        (
            "dict(train=ok, test=(ok[0], ok[1] - 1), classes=['a', 'b'])",
            "returned the test label -1; allowed are indices",
        ),
        ("dict(train=ok, test=ok, classes=['a', 'b'], shifted=[ok])", "returned shifted = list; allowed is {name: "),
        (
            "dict(train=ok, test=ok, classes=['a', 'b'], shifted={'x': 1})",
            "returned shifted.x = int; allowed is a pair",
        ),
    ],
)
def test_what_is_no_image_set_is_said_in_one_line(write, returned, expected):
    settings = CustomImages(source="custom", function=write(SET + returned))
    with pytest.raises(LayerLotteryError) as caught:
        load_own(settings)
    assert str(caught.value).startswith("mine.py:own: returned ")
    assert expected in str(caught.value)


def test_labels_beyond_the_classes_are_found_by_the_stage(write, tmp_path):
    settings = CustomImages(source="custom", function=write(SET + "dict(train=ok, test=ok, classes=['a'])"))
    with pytest.raises(LayerLotteryError, match="label 1 found, allowed is 0 to 0"):
        prepare(settings, tmp_path / "out")


# networks


def test_the_weights_are_what_the_function_draws_from_the_seed(stripes, network, example):
    extensions.trust(network())
    loaded, facts = load_network(stripes / "weights.safetensors")
    torch.manual_seed(derived_seed("initialize", 3))
    expected = example("network").build(channels=1, classes=4, image_size=16, width=8, depth=3)
    assert {**expected.state_dict()}.keys() == loaded.state_dict().keys()
    assert all(torch.equal(one, loaded.state_dict()[name]) for name, one in expected.state_dict().items())
    assert facts["architecture"]["network"] == json.loads(network().slice())


def test_a_network_leaves_the_random_state_alone_and_draws_differ(stripes, network, tmp_path):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    files = [tmp_path / f"{draw}.safetensors" for draw in range(2)]
    for draw, file in enumerate(files):
        initialize_network(stripes / FACTS, file, network(), seed=3, draw=draw)
    models = [load_network(file)[0].state_dict() for file in files]
    assert torch.equal(before, torch.get_rng_state())
    assert not torch.equal(models[0]["0.weight"], models[1]["0.weight"])


def test_weights_that_the_function_sets_to_zero_stay_zero(write, stripes, tmp_path):
    code = (
        "def own(*, channels, classes, image_size):\n"
        "    model = nn.Sequential(nn.Flatten(), nn.Linear(256, classes))\n"
        "    nn.init.zeros_(model[1].weight)\n    return model"
    )
    settings = CustomSettings(family="custom", function=write(NETWORK + code))
    initialize_network(stripes / FACTS, tmp_path / "weights.safetensors", settings, seed=0)
    assert not load_network(tmp_path / "weights.safetensors")[0][1].weight.any()


def test_a_weights_file_runs_no_code_that_nobody_named(stripes):
    with pytest.raises(
        LayerLotteryError, match=r"/weights\.safetensors: found \S+, code that the configuration does not"
    ):
        load_network(stripes / "weights.safetensors")


def test_its_blocks_are_found_and_removed(dense):
    model = dense
    blocks = residual_blocks(model, torch.zeros(2, 1, 16, 16))
    assert [block.name for block in blocks if block.removable] == ["1.0", "1.1", "1.2"]
    images = torch.rand(3, 1, 16, 16)
    small = remove_blocks(model, ["1.1"]).eval()
    inside = model.eval()[0](images)
    expected = model[2:](model[1][2](model[1][0](inside)))
    assert torch.allclose(small(images), expected, atol=1e-6)


NETWORK = "import torch\nfrom torch import nn\n"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (
            "def own(*, channels, classes, image_size):\n    return 3",
            "mine.py:own: returned int; allowed is a torch.nn.",
        ),
        (
            "def own(*, channels, classes): ...",
            "mine.py:own: can't be called with channels=, classes=, image_size=: got",
        ),
        (
            "def own(*, channels, classes, image_size):\n    return nn.Sequential(nn.Flatten(), nn.Linear(256, 3))",
            "mine.py:own: its network answers two images with (2, 3); allowed are logits (2, 4)",
        ),
        (
            "class Net(nn.Module):\n    def forward(self, x):\n        return [x]\n"
            "def own(*, channels, classes, image_size):\n    return Net()",
            "mine.py:own: its network answers two images with list; allowed are logits (2, 4)",
        ),
        (
            "class Net(nn.Module):\n    def forward(self, x):\n        return x.view(2, 7)\n"
            "def own(*, channels, classes, image_size):\n    return Net()",
            "mine.py:own: raised RuntimeError: shape '[2, 7]' is invalid for input of size 512 (line 5)",
        ),
        (
            "class Net(nn.Module):\n    def forward(self, x):\n        return x.flatten(1)[:, :4] / 0\n"
            "def own(*, channels, classes, image_size):\n    return Net()",
            "mine.py:own: its network answers two black images with logits that are not finite",
        ),
    ],
)
def test_what_is_no_network_is_said_in_one_line(write, stripes, tmp_path, code, expected):
    settings = CustomSettings(family="custom", function=write(NETWORK + code))
    with pytest.raises(LayerLotteryError) as caught:
        initialize_network(stripes / FACTS, tmp_path / "weights.safetensors", settings, seed=0)
    assert str(caught.value).startswith(expected)


# criteria


def test_influence_is_one_minus_the_cosine(dense, example):
    model = dense
    model.eval()
    images = torch.rand(5, 1, 16, 16)
    blocks = residual_blocks(model, images)
    batches = [(images[:2], torch.zeros(2)), (images[2:], torch.zeros(3))]
    found = example("criterion").influence(model, blocks, batches, seed=0)
    with torch.no_grad():
        stream = model[0](images)
        for block in blocks:
            before, stream = stream, model.get_submodule(block.name)(stream)
            cosines = [
                float(a @ b / (a.norm() * b.norm()))
                for a, b in zip(before.flatten(1).double(), stream.flatten(1).double(), strict=True)
            ]
            assert found[block.name] == pytest.approx(1 - np.mean(cosines), abs=1e-6)
    assert example("criterion").influence(model, blocks, batches, seed=0, centred=True) != found


def test_the_stage_writes_the_examples_scores(stripes, network, examples, tmp_path):
    settings = CriterionSettings(
        function=f"{examples / 'criterion.py'}:influence", batchnorm="eval", keep="low", images_per_class=2
    )
    extensions.trust(network())
    score(stripes / "weights.safetensors", stripes / FACTS, tmp_path / "scores.json", settings, seed=0, device=CPU)
    facts = read_facts(tmp_path / "scores.json")
    rows = {row["name"]: row for row in facts["blocks"]}
    assert facts["images"] == 8
    assert facts["settings"]["code"] == settings.code
    assert all(0 < row["raw"] < 0.2 and row["score"] == -row["raw"] for row in rows.values())


def test_an_own_criterion_scores_the_smaller_network_again(write, dense):
    function = write(
        "def own(model, blocks, batches, *, seed):\n"
        "    assert len(list(batches)[0]) == 2\n"
        "    return {block.name: (3 * place) % 5 * len(blocks) for place, block in enumerate(blocks)}"
    )
    model = dense
    batch = torch.rand(2, 1, 16, 16), torch.zeros(2, dtype=torch.long)
    settings = CriterionSettings(function=function, iterative=True)
    ranking = rank_blocks(model, batch, settings, blocks=residual_blocks(model, batch[0]), minimum=1)
    # of three 0, 9, 3: the first goes; of two 0, 6: the second goes; the third stays with what it had
    assert ranking.score == {"1.0": 0.0, "1.1": 1.0, "1.2": 2.0}


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        ("{'1.0': 1, '1.1': 1}", "returned no score for block 1.2; allowed is one for each of 3"),
        ("{'1.0': 1, '1.1': 1, '1.2': 2, 'x': 1}", "returned a score for 'x', which is none of the blocks that it"),
        ("{'1.0': 1, '1.1': 1, '1.2': 'much'}", "returned str for block 1.2; allowed is a number"),
        ("{'1.0': 1, '1.1': 1, '1.2': None}", "returned NoneType for block 1.2; allowed is a number"),
        ("[1, 2, 3]", "returned list; allowed is a score for each block, {name: number}"),
    ],
)
def test_what_are_no_scores_is_said_in_one_line(write, dense, returned, expected):
    settings = CriterionSettings(function=write(f"def own(model, blocks, batches, *, seed):\n    return {returned}"))
    model = dense
    batch = torch.rand(2, 1, 16, 16), torch.zeros(2, dtype=torch.long)
    with pytest.raises(LayerLotteryError, match=r"^mine\.py:own: ") as caught:
        rank_blocks(model, batch, settings, blocks=residual_blocks(model, batch[0]))
    assert expected in str(caught.value)


def test_scores_that_are_not_finite_name_the_block(write, dense):
    code = "def own(model, blocks, batches, *, seed):\n    return {one.name: float('nan') for one in blocks}"
    settings, model = CriterionSettings(function=write(code)), dense
    batch = torch.rand(2, 1, 16, 16), torch.zeros(2, dtype=torch.long)
    with pytest.raises(LayerLotteryError, match=r"block 1\.0: mine\.py:own gave nan; scores must be finite"):
        rank_blocks(model, batch, settings, blocks=residual_blocks(model, batch[0]))


def test_numbers_may_be_tensors_and_callables_have_a_name(dense):
    model = dense
    batch = torch.rand(2, 1, 16, 16), torch.zeros(2, dtype=torch.long)
    blocks = residual_blocks(model, batch[0])

    def given(model, blocks, batches, *, seed):
        return {block.name: torch.tensor(2.5) for block in blocks[: 3 + seed]}

    assert scores_of(given, model, blocks, batch, seed=0) == {"1.0": 2.5, "1.1": 2.5, "1.2": 2.5}
    with pytest.raises(LayerLotteryError, match=r"given: returned no score for block 1\.2"):
        scores_of(given, model, blocks, batch, seed=-1)


def test_the_packages_criterion_is_the_gradients_norm(dense, example):
    module = example("package/lottery_gradient_norm")
    model = dense
    model.eval()
    images, labels = torch.rand(4, 1, 16, 16), torch.arange(4)
    found = module.score(
        model, residual_blocks(model, images), [(images[:1], labels[:1]), (images[1:], labels[1:])], seed=0
    )
    loss = 4 * F.cross_entropy(model(images), labels)
    for name, value in found.items():
        parts = torch.autograd.grad(loss, list(model.get_submodule(name).parameters()), retain_graph=True)
        assert value == pytest.approx(float(sum(part.square().sum() for part in parts)) ** 0.5, rel=1e-4)
