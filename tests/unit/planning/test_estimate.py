"""Seconds and bytes of jobs from rates that are round numbers, worked out by hand."""

import pytest

from layerlottery.config.evaluation import ATTACKS
from layerlottery.config.loading import load_benchmark
from layerlottery.planning.estimate import Estimate, Measured, suffice
from layerlottery.planning.images import ImageCounts
from layerlottery.planning.jobs import Job, Record
from layerlottery.planning.plan import wall_seconds

STUDY = {"name": "one", "datasets": ["digits"], "networks": ["resnet20"], "seeds": [0], "criteria": ["snip", "random"]}
CONFIG = {
    "datasets": {"digits": {"source": "digits"}},
    "studies": [STUDY | {"removed": [1, 3], "rewinds": [0, 4]}],
    "training": {"epochs": 10},
    "attack": {"attacks": ["transfer", "fmn"], "epsilons": [1.0, 2.0], "pgd_steps": 5, "norm_steps": 7, "images": 40},
    "compare": {"images": 30},
    "profile": {"rounds": 4, "min_seconds": 0.1},
    "resources": {"training_threads": 2},
}
NAME = ("digits", "resnet20")
# each block holds a tenth; an image takes 0.001 s forward, 0.002 s back to the image, 0.01 s in a training step
NETWORK = Measured(100, 1000, 0.1, 0.1, rates=(1e-5, 2e-5, 1e-4))
IMAGES = ImageCounts(
    1, 8, 10, train=1000, test=100, shifted=50, held_out=10, corrupted=60, outliers=40, corrupt_seconds=0.25
)


def job(rule, *, network="resnet20", **wildcards):
    found = {"dataset": "digits"} | ({"network": network, "seed": "0"} if network else {})
    return Job(rule, found | {name: str(value) for name, value in wildcards.items()}, ("output",), left=True)


def estimate(**changes):
    given = {"start": 0.5, "cold": 3.0, "images": {"digits": IMAGES}, "networks": {NAME: [NETWORK]}}
    return Estimate(load_benchmark(CONFIG), 4, **given | changes)


def ticket(rule, **changes):
    return job(rule, **{"structure": "layers", "removed": 3, "rewind": 0} | changes)


# ten epochs of 1,000 steps of 0.01 and 100 passes of 0.001
TEN_EPOCHS = 10 * (10 + 0.1)


@pytest.mark.parametrize(
    ("one", "seconds"),
    [
        (job("train_dense"), TEN_EPOCHS),
        (ticket("train_ticket"), 0.7 * TEN_EPOCHS),
        (ticket("train_ticket", removed=1), 0.9 * TEN_EPOCHS),
        (ticket("train_ticket", rewind=4), 0.7 * 0.6 * TEN_EPOCHS),
        (ticket("train_ticket", rewind="random"), 0.7 * TEN_EPOCHS),
        (ticket("train_ticket", structure="weights"), TEN_EPOCHS),
        # 40 images, 2 bounds of 5 steps and 7 of fmn
        (job("attack"), 40 * (2 * 5 + 7) * 0.002),
        (job("shift"), (100 + 10 + 50 + 60 + 40) * 0.001),
        (ticket("compare"), 0.7 * 2 * 30 * 0.001),
        # ten images of each of ten classes; random looks at none
        (job("score", criterion="snip"), 100 * 0.002),
        (job("score", criterion="kl"), 100 * 0.001),
        (job("score", criterion="random"), 0.0),
        (job("score", criterion="l1"), 0.0),
        # random images, or one of ones; ten draws; four blocks may go one by one
        (job("score", criterion="ntk_sap"), 64 * 10 * 0.002),
        (job("score", criterion="synflow"), 1 * 0.002),
        (job("score", criterion="hutchinson_taylor"), 100 * 10 * 0.002),
        (job("score", criterion="sleb"), 100 * (1 + 3) * 0.001),
        (job("initialize"), 0.0),
        # the dense network and 8 tickets, 4 rounds and one to warm up, on all four cores
        (job("profile"), 9 * 5 * 0.1 * 4),
        (job("prepare", network=None), 3.0),
        (job("corrupt", network=None), 3.0 + 60 * 0.25),
    ],
)
def test_a_job_takes_its_work_beyond_the_start(one, seconds):
    assert estimate().seconds(one) == pytest.approx(0.5 + seconds)


def test_every_attack_counts_autoattack_by_its_own_images_and_bounds():
    for name in ATTACKS:
        config = CONFIG | {"attack": {"attacks": [name], "autoattack_images": 5, "autoattack_epsilons": [4.0, 8.0]}}
        found = Estimate(load_benchmark(config), 4, {"digits": IMAGES}, {NAME: [NETWORK]}, start=0.0)
        assert found.seconds(job("attack")) > 0
    # the table of attacks ends with it
    assert found.seconds(job("attack")) == pytest.approx(5 * 2 * ATTACKS["autoattack"].passes * 0.002)


def test_several_processes_average_and_an_untimed_network_goes_by_its_multiply_accumulates():
    slower = Measured(100, 1000, rates=(3e-5, 2e-5, 3e-4))
    both = estimate(networks={NAME: [NETWORK, slower], ("digits", "large"): [Measured(1000, 1000)]}, start=0.0)
    # a step is 2e-4 a multiply-accumulate on average, a pass 2e-5
    assert both.seconds(job("train_dense")) == pytest.approx(10 * (1000 * 0.02 + 100 * 0.002))
    assert both.seconds(job("train_dense", network="large")) == pytest.approx(10 * 10 * (1000 * 0.02 + 100 * 0.002))


def test_finished_jobs_correct_those_of_their_rule_and_first_of_their_network():
    names = {NAME: [NETWORK], ("digits", "other"): [NETWORK], ("digits", "third"): [NETWORK]}
    found = estimate(networks=names, start=0.0).corrected(
        [
            # two threads: a training takes two cores
            Record(job("train_dense"), seconds=TEN_EPOCHS),
            Record(job("train_dense", network="other"), seconds=2 * TEN_EPOCHS),
        ]
    )
    assert found.seconds(job("train_dense")) == pytest.approx(2 * TEN_EPOCHS)
    assert found.seconds(job("train_dense", network="other")) == pytest.approx(4 * TEN_EPOCHS)
    # no record of its own: three times what was expected, as those two together
    assert found.seconds(job("train_dense", network="third")) == pytest.approx(3 * TEN_EPOCHS)
    assert found.seconds(ticket("train_ticket")) == pytest.approx(0.7 * TEN_EPOCHS)


def test_a_random_choice_says_nothing_of_a_score_that_takes_images():
    drawn, taken = (job("score", criterion=name) for name in ("random", "kl"))
    # sizes without a calibration: no more is known than how much more a job does than another
    found = Estimate(load_benchmark(CONFIG), 4, {"digits": IMAGES}, {NAME: [Measured(1e9, 1000)]})
    assert found.corrected([Record(drawn, seconds=2.0)]).seconds(taken) == found.seconds(taken)
    found = found.corrected([Record(drawn, seconds=2.0), Record(taken, seconds=9.0)])
    assert (found.seconds(drawn), found.seconds(taken)) == pytest.approx((2.0, 9.0))


def test_jobs_tell_of_others_of_their_kind_that_do_not_do_much_more():
    drawn, taken, sampled = (job("score", criterion=name) for name in ("random", "kl", "hutchinson_taylor"))
    known = load_benchmark(CONFIG), {"digits": IMAGES}
    assert suffice([drawn], [drawn], *known)
    assert suffice([sampled], [taken], *known)
    assert not suffice([drawn], [taken], *known)
    assert not suffice([taken], [drawn], *known)
    # 2,000 units against 100
    assert not suffice([taken], [sampled], *known)
    assert not suffice([], [drawn], *known)


def test_weights_and_images_fill_the_disk():
    whole = [job("initialize"), job("train_dense"), job("score_weights")]
    assert [estimate().bytes(one) for one in whole] == [4000, 4000, 4000]
    assert estimate().bytes(ticket("prune")) == pytest.approx(0.7 * 4000)
    shared = [job(rule, network=None) for rule in ("prepare", "corrupt", "outliers", "report")]
    assert [estimate().bytes(one) for one in shared] == [64 * (1000 + 100 + 50 + 10), 64 * 60, 64 * 40, 0]
    assert estimate().bytes(job("score")) == estimate().bytes(job("attack")) == 0


def clock(pairs, at_once):
    """Seconds of jobs by (rule, network): a training takes two cores for half as long."""

    class Fixed(Estimate):
        def seconds(self, one):
            return {"prepare": 8.0, "train_dense": 100.0, "shift": 6.0}[one.rule]

    jobs = [job(rule, network=network) for rule, network in pairs]
    return wall_seconds(jobs, Fixed(load_benchmark(CONFIG), 4, {}, {}), at_once)


def test_jobs_fill_the_cores_but_no_number_of_them_outruns_one_network():
    shared, chain = ("prepare", None), [("train_dense", "resnet20"), ("shift", "resnet20")]
    # what all share runs alone
    assert clock([shared, *[chain[1]] * 10], at_once=4) == 8 + 10 * 6 / 4
    assert clock([shared, *chain], at_once=1000) == 8 + 100 / 2 + 6
