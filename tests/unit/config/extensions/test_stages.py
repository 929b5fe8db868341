"""What the stages do with data sets, networks and criteria of the user's own, shown by those of docs/extending.md."""

import json

import numpy as np
import pytest
import torch
from tests.unit.config.extensions.conftest import example, told
from torch.nn import functional as F

import layerlottery
from layerlottery.config.criteria import CriterionSettings
from layerlottery.config.data import CustomImages
from layerlottery.config.networks import CustomSettings
from layerlottery.criteria.own import scores_of
from layerlottery.criteria.score import rank_blocks
from layerlottery.data.own import load_own
from layerlottery.data.prepared import FACTS, PreparedSet
from layerlottery.networks.blocks import residual_blocks
from layerlottery.networks.initialize import initialize_network
from layerlottery.networks.weights import load_network
from layerlottery.store.hashing import derived_seed


def custom(function, **options):
    return CustomImages(source="custom", function=function, options=options)


# data sets


def test_the_example_set_is_prepared_as_any_other(stripes):
    held = PreparedSet.open(stripes / FACTS)
    expected = example("dataset.py", "stripes")(images=80)
    assert held.classes == expected.classes
    assert held.facts["counts"] == {"train": 60, "test": 40, "shifted": 40, "held_out": 0}
    assert np.array_equal(held.split("test").images, expected.test[0])
    assert np.array_equal(held.shifted()["noisy"].labels, expected.shifted["noisy"][1])
    assert np.bincount(held.split("train").labels).tolist() == [15] * 4
    pixels = held.split("train").images / 255
    assert (held.mean, held.std) == (pytest.approx([pixels.mean()]), pytest.approx([pixels.std()]))


def test_arrays_may_come_in_a_mapping_from_torch_and_stay_on_disk(write):
    function = write("""
import numpy as np, torch
def own(n):
    np.save("images.npy", np.ones((4, 1, 8, 8), dtype=np.uint8))
    held = np.load("images.npy", mmap_mode="r")
    train = torch.zeros(n, 3, 8, 8, dtype=torch.uint8), torch.arange(n) % 2
    return {"train": train, "test": [held, [0] * n], "classes": ["a", "b"], "shifted": {"same": (held, [1] * n)}}
""")
    found = load_own(custom(function, n=4))
    assert found.train.labels.tolist() == [0, 1, 0, 1]
    assert found.test.labels.dtype == np.int64
    assert (found.classes, list(found.shifted)) == (("a", "b"), ["same"])
    assert np.shares_memory(found.test.images, found.shifted["same"].images)
    assert not found.test.images.flags.writeable


# networks


def test_the_weights_are_what_the_function_draws_from_the_seed(stripes, network, tmp_path):
    build = example("network.py", "build")
    torch.manual_seed(5)
    before = torch.get_rng_state()
    initialize_network(stripes / FACTS, tmp_path / "1.safetensors", network, seed=3, draw=1)
    # the random state is left alone
    assert torch.equal(before, torch.get_rng_state())
    for file, stream in ((stripes / "weights.safetensors", ()), (tmp_path / "1.safetensors", (1,))):
        loaded, facts = load_network(file)
        torch.manual_seed(derived_seed("initialize", 3, *stream))
        expected = build(channels=1, classes=4, image_size=16, width=8, depth=3).state_dict()
        found = loaded.state_dict()
        assert expected.keys() == found.keys()
        assert all(torch.equal(one, found[name]) for name, one in expected.items())
        assert facts["architecture"]["network"] == json.loads(network.slice())


def test_a_weights_file_runs_no_code_that_nobody_named(stripes):
    assert "/weights.safetensors: found /" in told(load_network, stripes / "weights.safetensors")


# criteria


def test_the_library_takes_the_examples_influence_and_it_is_one_minus_the_cosine(dense):
    influence, batch = example("criterion.py", "influence"), (torch.rand(5, 1, 16, 16), torch.arange(5) % 4)
    found = layerlottery.score(dense.eval(), batch, criterion=influence)
    assert list(found) == ["1.0", "1.1", "1.2"]
    stream = dense[0](batch[0])
    for name, value in found.items():
        before, stream = stream, dense.get_submodule(name)(stream)
        cosines = F.cosine_similarity(before.flatten(1).double(), stream.flatten(1).double())
        assert value == pytest.approx(1 - cosines.mean().item(), abs=1e-6)
    assert influence(dense, residual_blocks(dense, batch[0]), [batch], seed=0, centred=True) != found


BATCH = torch.rand(2, 1, 16, 16), torch.zeros(2, dtype=torch.long)


def ranked(dense, function, **settings):
    settings = CriterionSettings(function=function, **settings)
    return rank_blocks(dense, BATCH, settings, blocks=residual_blocks(dense, BATCH[0]), minimum=1)


def test_an_own_criterion_scores_the_smaller_network_again(write, dense):
    function = write(
        "def own(model, blocks, batches, *, seed):\n"
        "    assert len(list(batches)[0]) == 2\n"
        "    return {block.name: (3 * place) % 5 * len(blocks) for place, block in enumerate(blocks)}"
    )
    # of three 0, 9, 3: the first goes; of two 0, 6: the second goes; the third stays with what it had
    assert ranked(dense, function, select="one_by_one").score == {"1.0": 0.0, "1.1": 1.0, "1.2": 2.0}


def test_numbers_may_be_tensors_and_callables_have_a_name(dense):
    blocks = residual_blocks(dense, BATCH[0])

    def given(model, blocks, batches, *, seed):
        return {block.name: torch.tensor(2.5) for block in blocks[: 3 + seed]}

    assert scores_of(given, dense, blocks, BATCH, seed=0) == {"1.0": 2.5, "1.1": 2.5, "1.2": 2.5}
    assert "given: returned no score for block 1.2" in told(scores_of, given, dense, blocks, BATCH, seed=-1)


def test_the_packages_criterion_is_the_gradients_norm(dense):
    images, labels = torch.rand(4, 1, 16, 16), torch.arange(4)
    batches = [(images[:1], labels[:1]), (images[1:], labels[1:])]
    own_score = example("package/lottery_gradient_norm.py", "score")
    found = own_score(dense.eval(), residual_blocks(dense, images), batches, seed=0)
    loss = 4 * F.cross_entropy(dense(images), labels)
    for name, value in found.items():
        parts = torch.autograd.grad(loss, list(dense.get_submodule(name).parameters()), retain_graph=True)
        assert value == pytest.approx(float(sum(part.square().sum() for part in parts)) ** 0.5, rel=1e-4)


# what functions return

SET = """
import numpy as np
ok = images, labels = np.zeros((4, 1, 8, 8), np.uint8), np.arange(4) % 2
good = {"train": ok, "test": ok, "classes": ["a", "b"]}
def own():
    return """
NETWORK = """
from torch import nn
class Net(nn.Module):
    def __init__(self, answer):
        super().__init__()
        self.answer = answer
    def forward(self, images):
        return self.answer(images)
def own(*, channels, classes, image_size):
    return """
SCORES = "def own(model, blocks, batches, *, seed):\n    return "


@pytest.fixture
def run(write, stripes, tmp_path, request):
    """Run the stage that a function belongs to, by the function's code without what it returns."""

    def initialized(function):
        settings = CustomSettings(family="custom", function=function)
        initialize_network(stripes / FACTS, tmp_path / "weights.safetensors", settings, seed=0)

    stages = {SET: lambda function: load_own(custom(function)), NETWORK: initialized}
    stages[SCORES] = lambda function: ranked(request.getfixturevalue("dense"), function)
    return lambda code, returned: stages[code](write(code + returned))


@pytest.mark.parametrize(
    ("code", "returned", "expected"),
    [
        (SET, "None", "returned NoneType, without train, test, classes; allowed: ImageArrays, or a mapping of tr"),
        (SET, "{'train': ok}", "returned a mapping of train, without test, classes;"),
        (SET, "good | {'extra': 1}", "returned the unknown field 'extra'; allowed: train, test, classes, shifted"),
        (SET, "good | {'classes': 'ab'}", "returned classes = ab; allowed: names, each once"),
        (SET, "good | {'classes': ['a', 'a']}", "returned classes = ['a', 'a']; allowed: names, each once"),
        (SET, "good | {'classes': ['a', '']}", "returned classes = ['a', '']; allowed: names, each once"),
        (SET, "good | {'classes': 2}", "returned classes = 2; allowed: names"),
        (SET, "good | {'train': images}", "returned train = ndarray; allowed: a pair"),
        (SET, "good | {'train': (*ok, 1)}", "returned train = tuple; allowed: a pair"),
        (SET, "good | {'train': ([[1], [1, 2]], [0])}", "returned train = a pair that is no pair of arrays"),
        (SET, "good | {'train': (images / 255, labels)}", "returned train images float64 (4, 1, 8, 8);"),
        (SET, "good | {'train': (images[:, 0], labels)}", "returned train images uint8 (4, 8, 8);"),
        (SET, "good | {'train': (images.repeat(2, 1), labels)}", "returned train images uint8 (4, 2, 8, 8);"),
        (SET, "good | {'test': (images[:0], labels[:0])}", "returned test images uint8 (0, 1, 8, 8);"),
        (SET, "good | {'test': (images[:, :, 1:], labels)}", "returned test images of 8x7 pixels; allowed: square"),
        (SET, "good | {'test': (images, labels[1:])}", "returned test labels int64 (3,); allowed: integers (4,)"),
        (SET, "good | {'test': (images, labels / 2)}", "returned test labels float64 (4,); allowed: integers (4,)"),
        (SET, "good | {'test': (images, labels - 1)}", "returned the test label -1; allowed: indices into the cla"),
        (SET, "good | {'shifted': [ok]}", "returned shifted = list; allowed: {name: (images, labels)}"),
        (SET, "good | {'shifted': {1: ok}}", "returned shifted = dict; allowed: {name: (images, labels)}"),
        (SET, "good | {'shifted': {'x': 1}}", "returned shifted.x = int; allowed: a pair"),
        (NETWORK, "3", "returned int; allowed: a torch.nn.Module"),
        (
            NETWORK,
            "1\ndef own(*, channels, classes): ...",
            "can't be called with channels=, classes=, image_size=: got",
        ),
        (NETWORK, "nn.Flatten()", "its network answers two images with (2, 256); allowed: logits (2, 4)"),
        (NETWORK, "Net(lambda x: [x])", "its network answers two images with list; allowed: logits (2, 4)"),
        (
            NETWORK,
            "Net(lambda x: x.view(7))",
            "raised RuntimeError: shape '[7]' is invalid for input of size 512 (line",
        ),
        (NETWORK, "Net(lambda x: x[:, 0, 0, :4] / 0)", "its network answers two black images with logits that are not"),
        (SCORES, "{'1.0': 1, '1.1': 1}", "returned no score for block 1.2; allowed: one for each of 3"),
        (
            SCORES,
            "dict.fromkeys(['1.0', '1.1', '1.2', 'x'])",
            "returned a score for 'x', which is none of the blocks th",
        ),
        (SCORES, "{'1.0': 1, '1.1': 'much', '1.2': 2}", "returned str for block 1.1; allowed: a number"),
        (SCORES, "{'1.0': None, '1.1': 1, '1.2': 2}", "returned NoneType for block 1.0; allowed: a number"),
        (SCORES, "{'1.0': images, '1.1': 1, '1.2': 2}", "raised NameError: name 'images' is not defined (line 2)"),
        (SCORES, "[1, 2, 3]", "returned list; allowed: a score for each block, {name: number}"),
    ],
)
def test_what_is_no_image_set_no_network_and_no_scores_is_said_in_one_line(run, code, returned, expected):
    assert told(run, code, returned).startswith(f"mine.py:own: {expected}")


def test_scores_that_are_not_finite_name_the_block(run):
    found = told(run, SCORES, "{one.name: float('nan') for one in blocks}")
    assert found == "block 1.0: mine.py:own gave nan; scores must be finite numbers"
