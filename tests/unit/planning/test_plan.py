"""The whole plan from made-up jobs, and how it is told."""

import pytest

from layerlottery.config.loading import load_benchmark
from layerlottery.planning import calibrate
from layerlottery.planning import plan as planning
from layerlottery.planning.estimate import Measured
from layerlottery.planning.jobs import Job, Record
from layerlottery.planning.plan import Plan, plan
from layerlottery.words import duration, scaled

STUDY = {"name": "one", "datasets": ["digits"], "networks": ["resnet20"], "seeds": [0, 1], "criteria": ["l1"]}
CONFIG = {
    "datasets": {"digits": {"source": "digits", "train_size": 100, "test_size": 50}},
    "studies": [STUDY | {"removed": [1]}],
    "energy": {"carbon_intensity": 0.5},
}


def training(seed, *, left):
    wildcards = {"dataset": "digits", "network": "resnet20", "seed": str(seed)}
    return Job("train_dense", wildcards, (f"{seed}/weights.safetensors",), left)


@pytest.fixture
def sizes(monkeypatch):
    """Networks are sized without being built, and never timed."""
    asked = []

    def measured(benchmark, images, names, *, processes, until):
        asked.append(until)
        return {name: [Measured(100, 1000, rates=(1e-5, 2e-5, 1e-4), kwh=2e-6)] for name in names}

    monkeypatch.setattr(calibrate, "measured", measured)
    return asked


def planned(monkeypatch, jobs, done):
    # no results beside: image sets prepared there would be counted
    monkeypatch.setattr(planning, "records", lambda jobs, results: iter(done))
    return plan(load_benchmark(CONFIG | {"results": "nowhere"}), jobs, cores=2)


def test_what_finished_jobs_took_spares_the_calibration(sizes, monkeypatch):
    done, left = training(0, left=False), training(1, left=True)
    found = planned(monkeypatch, [done, left], [Record(done, seconds=7200.0, kwh=0.02)])
    assert sizes == [0.0]
    assert found.stages["train"] == {"jobs": 2, "left": 1, "seconds": pytest.approx(7200)}
    assert found.stages["all"] == found.stages["train"]
    assert (found.kwh, found.kg_co2, found.wall_seconds) == pytest.approx((0.02, 0.01, 7200))
    assert (found.networks, found.tickets, found.recorded, found.bytes) == (4, 2, 1, 4000)


def test_what_was_never_done_is_measured(sizes, monkeypatch):
    found = planned(monkeypatch, [training(0, left=True)], [])
    assert sizes[0] > 0
    # 200 epochs of 100 steps of 0.01 s and 50 passes of 0.001 s, beyond the start of a command
    assert found.stages["train"]["seconds"] == pytest.approx(200 * (1 + 0.05), abs=1)
    assert found.kwh == pytest.approx(2e-6 * found.stages["train"]["seconds"])


def test_a_plan_is_told_in_the_words_of_people():
    rows = {
        "train": {"jobs": 9.0, "left": 7.0, "seconds": 13_046_400.0},
        "prune": {"jobs": 3, "left": 2, "seconds": 0.2},
    }
    rows["all"] = {"jobs": 12, "left": 9, "seconds": 13_046_400.2}
    found = Plan(
        *("results", 4, 3, 1, 8),
        wall_seconds=8400,
        calibration_seconds=9,
        kwh=366.4,
        kg_co2=135,
        bytes=7e10,
        stages=rows,
        tells=["digits, resnet20: 3 seeds tell true differences of 1.07 pp"],
    )
    text = "\n".join(found.lines())
    assert [line.split() for line in text.splitlines()[1:4]] == [
        ["train", "9", "7", "151", "days"],
        ["prune", "3", "2", "under", "1", "s"],
        ["all", "12", "9", "151", "days"],
    ]
    assert "digits, resnet20: 3 seeds tell true differences of 1.07 pp" in text
    assert "4 networks, 3 of them tickets; 3 of 12 jobs are done" in text
    assert "An estimate: 2 h 20 min with 1 core, 366 kWh, 135 kg of CO2, 70 GB of weights and images in results" in text
    assert "Times: 8 jobs by what finished jobs took, 1 job by 9 s of measuring this machine" in text


TIMES = {0: "0 s", 0.0004: "under 1 s", 48.4: "48 s", 140: "2 min 20 s", 119.7: "2 min", 2120: "35 min"}
TIMES |= {8400: "2 h 20 min", 51_120: "14 h", 169_200: "47 h", 216_000: "2 days 12 h", 1_066_608_000: "12,300 days"}


def test_amounts_have_three_digits_at_most():
    assert {seconds: duration(seconds) for seconds in TIMES} == TIMES
    amounts = {366.4: "366 kWh", 12_345: "12,300 kWh", 0.00071: "710 mWh", 0.0123: "12.3 Wh"}
    assert {kwh: scaled(kwh, "Wh", planning.KILO) for kwh in amounts} == amounts
