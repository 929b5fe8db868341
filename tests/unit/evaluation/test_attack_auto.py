"""AutoAttack: against its own package in one go, stopped and resumed, and where it can't run."""

import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from tests.unit.evaluation.attacked import counts, digits, floats, frozen, rows, train, whole
from torch import nn

from layerlottery.config.evaluation import AttackSettings
from layerlottery.data.prepared import Split
from layerlottery.errors import LayerLotteryError
from layerlottery.evaluation import autoattack as auto
from layerlottery.evaluation.attack import attack
from layerlottery.evaluation.autoattack import STANDARD, Parts, autoattack
from layerlottery.store.artifacts import read_facts, read_table, write_facts

LEVEL = 24.0


@pytest.fixture
def library():
    return pytest.importorskip("pyautoattack", reason="the extra autoattack is not installed")


@pytest.fixture(autouse=True)
def shortened(monkeypatch):
    """A twentieth of the steps and less of the random search, or these tests would take minutes."""

    def find():
        from pyautoattack import AutoAttack

        class Short(AutoAttack):
            def __init__(self, *given, **named):
                super().__init__(*given, **named)
                self.square.n_queries = 20
                for part in (self.apgd, self.apgd_targeted, self.fab):
                    part.n_iter = part.n_iter_orig = 5

        return Short

    if find_spec("pyautoattack"):
        monkeypatch.setattr(auto, "find_autoattack", find)


@pytest.fixture(scope="module")
def trained():
    return train()


@pytest.fixture(scope="module")
def ten():
    """Ten images that the model gets right, some of which survive."""
    return digits().take(np.arange(len(digits()) - 40, len(digits()) - 30))


def test_it_finds_what_the_package_finds_in_one_go(library, trained, ten):
    images, labels = floats(ten)
    (found,) = autoattack(trained, [whole(images, labels)], LEVEL, seed=0, parts=Parts())
    reference = auto.find_autoattack()(trained, eps=LEVEL / 255, seed=0, version="standard", device="cpu")
    reference.verbose = False
    with torch.random.fork_rng():
        changed, _ = reference.run_standard_evaluation(images, labels, batch_size=50)
    assert torch.equal(found.left, trained(changed).argmax(1) == labels)
    assert 0 < found.left.sum() < 10


def test_it_is_no_weaker_than_pgd_and_has_images_of_its_own(library, trained, ten):
    settings = AttackSettings(
        attacks=["pgd", "autoattack"],
        epsilons=[LEVEL],
        autoattack_epsilons=[LEVEL],
        images=None,
        autoattack_images=None,
    )
    untouched, pgd, same, strong = counts(rows(trained, ten, settings))
    assert untouched == same
    assert strong <= pgd
    fewer = AttackSettings(attacks=["autoattack"], autoattack_images=5, autoattack_epsilons=[1.0])
    assert {row.images for row in rows(trained, Split(ten.images, np.arange(10) % 5), fewer)} == {5}


class Stopped(Exception):  # noqa: N818
    pass


@pytest.mark.parametrize("finished", [1, 3, 6])
def test_a_resumed_run_equals_an_undisturbed_one(library, trained, ten, tmp_path, monkeypatch, finished):
    halves = [whole(*floats(ten.take(np.arange(start, start + 5)))) for start in (0, 5)]
    undisturbed = Parts()
    autoattack(trained, halves, LEVEL, seed=0, parts=undisturbed)
    path, run, ran = tmp_path / "progress.json", auto._attacked, []

    def stop(name, *given):
        if len(ran) == finished:
            raise Stopped
        ran.append(name)
        return run(name, *given)

    monkeypatch.setattr(auto, "_attacked", stop)
    with pytest.raises(Stopped):
        autoattack(trained, halves, LEVEL, seed=0, parts=Parts.open(path, "a" * 64))
    monkeypatch.setattr(auto, "_attacked", run)
    resumed = Parts.open(path, "a" * 64)
    kept = len(resumed.done)
    assert kept >= finished
    autoattack(trained, halves, LEVEL, seed=0, parts=resumed)
    assert resumed.done == undisturbed.done == {k: v for k, v in read_facts(path).items() if k != "config_hash"}
    assert len(resumed.done) == 2 * len(STANDARD) > kept


def test_progress_of_another_configuration_or_broken_is_not_used(tmp_path):
    path = tmp_path / "progress.json"
    write_facts(path, {"8.0/0/apgd-ce": [1]}, config_hash="a" * 64)
    assert Parts.open(path, "a" * 64).done == {"8.0/0/apgd-ce": [1]}
    assert Parts.open(path, "b" * 64).done == {}
    path.write_bytes(path.read_bytes().replace(b"apgd", b"bpgd"))
    assert Parts.open(path, "a" * 64).done == {}
    assert Parts.open(tmp_path / "none.json", "a" * 64).done == {}


def test_the_stage_resumes_and_removes_its_progress(library, bench, tmp_path, cpu, monkeypatch):
    settings = AttackSettings(attacks=["autoattack"], autoattack_images=10, autoattack_epsilons=[1.0])
    output, progress = tmp_path / "attack.parquet", tmp_path / "attack.progress"
    given = {"device": cpu, "progress": progress}
    attack(bench.weights, bench.data, output, settings, **given)
    first = read_table(output)
    assert not progress.exists()
    monkeypatch.setattr(
        "layerlottery.evaluation.attack.write_conditions", lambda *a, **b: (_ for _ in ()).throw(Stopped)
    )
    with pytest.raises(Stopped):
        attack(bench.weights, bench.data, output, settings, **given)
    assert progress.exists()
    monkeypatch.undo()
    monkeypatch.setattr(auto, "_attacked", None)  # all is done
    attack(bench.weights, bench.data, output, settings, **given)
    assert read_table(output).equals(first)
    assert not progress.exists()


def test_nothing_else_changes(library, trained, ten, capsys):
    def trace(*_):
        return None

    before = sys.gettrace()
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    sys.settrace(trace)
    try:
        autoattack(trained, [whole(*floats(ten))], 1.0, seed=0, parts=Parts())
        assert sys.gettrace() is trace
    finally:
        sys.settrace(before)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert capsys.readouterr().out == ""


def test_a_diverged_network_has_no_accuracy(library, ten):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    nn.init.constant_(model[1].weight, float("nan"))
    zeros = Split(ten.images, np.zeros(10, dtype=np.int64))
    assert counts(rows(frozen(model), zeros, AttackSettings(attacks=["autoattack"]))) == [0, 0]


@pytest.mark.parametrize(("classes", "allowed"), [(3, False), (4, True)])
def test_few_classes_are_refused(library, classes, allowed):
    torch.manual_seed(0)
    model = frozen(nn.Sequential(nn.Flatten(), nn.Linear(64, classes)))
    images = torch.rand(4, 1, 8, 8)
    batch = whole(images, model(images).argmax(1))
    if allowed:
        assert len(autoattack(model, [batch], 1.0, seed=0, parts=Parts())) == 1
        return
    with pytest.raises(LayerLotteryError, match=r"^attacks: autoattack on 3 classes; allowed: 4 or more$"):
        autoattack(model, [batch], 1.0, seed=0, parts=Parts())


def test_images_out_of_range_are_refused(trained, ten):
    images, labels = floats(ten)
    with pytest.raises(LayerLotteryError, match=r"^attack autoattack: images .* outside \[0, 1\]$"):
        autoattack(trained, [whole(images * 255, labels)], 1.0, seed=0, parts=Parts())


def test_a_missing_package_is_named_before_any_work(bench, tmp_path, cpu, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "pyautoattack", None)
    settings = AttackSettings(attacks=["fgsm", "autoattack"])
    with pytest.raises(LayerLotteryError, match=r"^attacks: .* pip install 'layerlottery\[autoattack\]'$") as raised:
        attack(bench.weights, tmp_path / "none", tmp_path / "attack.parquet", settings, device=cpu)
    assert "\n" not in str(raised.value)
