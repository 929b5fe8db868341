"""A results folder that the real stages made: a dense network, tickets of every structure, trained and tested."""

import pytest
import torch
from tests.sharing import shared

from layerlottery import paths
from layerlottery.config.criteria import CRITERIA
from layerlottery.config.data import Digits
from layerlottery.config.evaluation import (
    AttackSettings,
    CompareSettings,
    CorruptionSettings,
    OutlierSettings,
    ShiftSettings,
)
from layerlottery.config.networks import NetworkSettings
from layerlottery.config.recipes import Recipes
from layerlottery.config.results import ProfileSettings
from layerlottery.config.studies import Run
from layerlottery.config.training import TrainingSettings
from layerlottery.cost.profile import profile
from layerlottery.criteria.score import score
from layerlottery.data.prepare import prepare
from layerlottery.evaluation.attack import attack
from layerlottery.evaluation.compare import compare
from layerlottery.evaluation.corrupt import corrupt
from layerlottery.evaluation.outliers import outliers
from layerlottery.evaluation.shift import shift
from layerlottery.networks.initialize import initialize_network
from layerlottery.networks.prune import prune
from layerlottery.training.train import train

CPU = torch.device("cpu")
# with bfloat16, where a processor has it, a curve and an evaluation may tell one of 30 images differently
TRAINING = TrainingSettings(epochs=1, batch_size=30, precision="float32")
RECIPE = Recipes(training=TRAINING).level("tiny")
DENSE = Run("digits", "tiny", 0, recipe=RECIPE)
TICKET = Run("digits", "tiny", 0, "layers", "l1", 0, "init", 2, "0", RECIPE, round=1)
FILTERS = Run("digits", "tiny", 0, "filters", "l1", 0, "init", 1, "0", RECIPE, round=1)
WEIGHTS = Run("digits", "tiny", 0, "weights", "l1", 0, "init", 1, "0", RECIPE, round=1)
ATTACKS = {"attacks": ["fgsm", "transfer", "fmn_l2"], "epsilons": [8.0], "images": 20, "pgd_steps": 2, "norm_steps": 5}
CORRUPTIONS = {"names": ["contrast", "fog", "spatter"], "severities": [2, 3], "images": 20}


class Stages:
    """A results folder, and the stages that fill it."""

    def __init__(self, root):
        self.root = root
        self.data = self.file(paths.prepared, paths.DATASET.format(dataset="digits"))
        self.corrupted = self.data.with_name("corrupted_images.npy"), self.data.with_name("corrupted.json")
        self.outliers = self.data.with_name("outlier_images.npy"), self.data.with_name("outliers.json")
        prepare(Digits(source="digits", train_size=60, test_size=30, held_out=10), self.data.parent)
        corrupt(self.data, *self.corrupted, CorruptionSettings(**CORRUPTIONS))
        outliers(self.data, *self.outliers, OutlierSettings(images=20))
        self.initial = self.root / paths.start_weights(DENSE.folder, "0")
        initialize_network(self.data, self.initial, NetworkSettings(depth=20, width=2), seed=0)

    def file(self, name, folder):
        return self.root / name(folder)

    def pruned(self, run, **budget):
        scores = self.file(paths.element_scores if run.structure == "weights" else paths.scores, run.scored)
        score(self.initial, self.data, scores, CRITERIA["l1"], structure=run.structure, seed=0, device=CPU)
        start, facts = self.file(paths.initial_weights, run.folder), self.file(paths.ticket_facts, run.folder)
        prune(self.initial, scores, start, facts, removed=run.removed, structure=run.structure, **budget)

    def trained(self, run):
        start = self.root / (paths.initial_weights(run.folder) if run.removed else paths.start_weights(run.folder, "0"))
        train(start, self.data, self.root / run.folder, TRAINING, seed=0, device=CPU)
        weights, dense = (self.file(paths.trained_weights, one.folder) for one in (run, DENSE))
        tested, detected = (self.file(name, run.folder) for name in (paths.shift, paths.detection))
        more = dict(zip(("outlier_images", "outlier_facts"), self.outliers, strict=True))
        more |= {"output_detection": detected}
        shift(weights, self.data, *self.corrupted, tested, ShiftSettings(), device=CPU, **more)
        attacked = self.file(paths.attack, run.folder)
        attack(weights, self.data, attacked, AttackSettings(**ATTACKS), device=CPU, dense=dense)

    def compared(self):
        weights, dense = (self.file(paths.trained_weights, run.folder) for run in (TICKET, DENSE))
        compared = self.file(paths.similarity, TICKET.folder)
        compare(weights, dense, self.data, compared, CompareSettings(), device=CPU)

    def profiled(self):
        facts = [self.file(paths.ticket_facts, run.folder) for run in (TICKET, WEIGHTS)]
        once, output = ProfileSettings(rounds=1, min_seconds=0.001), self.file(paths.profile, DENSE.folder)
        profile(self.initial, facts, self.data, output, once, batch_size=30, threads=1, device=CPU)


def fill(folder):
    stages = Stages(folder / "results")
    stages.pruned(TICKET)
    budget = stages.file(paths.scores, TICKET.scored)
    for run in (FILTERS, WEIGHTS):
        stages.pruned(run, budget=budget)
    # the network of fewer filters stays unfinished
    for run in (DENSE, TICKET, WEIGHTS):
        stages.trained(run)
    stages.compared()
    stages.profiled()


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    with shared(tmp_path_factory, "trained", fill) as folder:
        yield folder / "results"
