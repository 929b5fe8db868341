"""Settings of live curves: they reach trainings and no hash, and say what is missing."""

import os

import pytest

from layerlottery.config import live
from layerlottery.config.choices import LOGGING
from layerlottery.config.live import MODULES, LoggingSettings
from layerlottery.config.loading import load_benchmark
from layerlottery.errors import LayerLotteryError

STUDY = {
    "name": "one",
    "datasets": ["digits"],
    "networks": ["resnet20"],
    "seeds": [0],
    "criteria": ["snip"],
    "removed": [1],
}
SMALL = {"datasets": {"digits": {"source": "digits"}}, "studies": [STUDY]}
ALL = {"tensorboard": True, "wandb": "mine", "mlflow": "yours"}


def test_the_default_reports_to_nobody():
    assert load_benchmark(SMALL).logging.trackers() == {}
    assert LoggingSettings(**ALL).trackers() == {"tensorboard": "", "wandb": "mine", "mlflow": "yours"}


def test_no_hash_and_no_slice_of_a_benchmark_knows_of_it():
    off, on = load_benchmark(SMALL), load_benchmark(SMALL | {"logging": ALL})
    for name in ("manifest_slice", "aggregate_slice", "tabulate_slice"):
        assert getattr(off, name)() == getattr(on, name)()
    assert off.training.slice() == on.training.slice()


def test_it_reaches_trainings_through_the_environment_and_leaves_it(monkeypatch):
    monkeypatch.setenv(LOGGING, '{"wandb": "older"}')
    load_benchmark(SMALL | {"logging": {"tensorboard": "true"}}).logging.announce()  # as --config gives it
    assert LoggingSettings.model_validate_json(os.environ[LOGGING]) == LoggingSettings(tensorboard=True)
    load_benchmark(SMALL).logging.announce()
    assert LOGGING not in os.environ


def test_a_missing_package_is_one_line_that_names_the_extra(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://localhost:5000")
    monkeypatch.setattr(live, "find_spec", lambda name: None)
    lines = LoggingSettings(**ALL).missing()
    assert [f"pip install 'layerlottery[{name}]'" in line for name, line in zip(MODULES, lines, strict=True)] == [
        True
    ] * 3
    assert LoggingSettings().missing() == []


def test_mlflow_needs_a_server(monkeypatch):
    monkeypatch.setattr(live, "find_spec", lambda name: name)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (line,) = LoggingSettings(**ALL).missing()
    assert line == "logging.mlflow: found yours; allowed where MLFLOW_TRACKING_URI names a server"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"tensorbord": True}, "logging: unknown key 'tensorbord'; allowed: tensorboard, wandb, mlflow"),
        ({"wandb": "a/b"}, 'logging.wandb: found "a/b"'),
        ({"tensorboard": 3}, "logging.tensorboard: found 3"),
    ],
)
def test_a_mistake_is_one_line(given, said):
    with pytest.raises(LayerLotteryError) as found:
        load_benchmark(SMALL | {"logging": given})
    assert said in str(found.value)
    assert "\n" not in str(found.value)
