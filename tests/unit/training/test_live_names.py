"""Names and ids of live curves: readable, apart, and no paths."""

import json

import pytest

from layerlottery.config.studies import Run
from layerlottery.training.live import named
from layerlottery.training.recorder import STATE, Recorder


def recorded(root, **told):
    """A recorder for no tracker, over a state that names a tracker's id."""
    state = root / "run" / STATE
    state.parent.mkdir(parents=True, exist_ok=True)
    state.write_text(json.dumps({"fingerprint": "f", "trackers": {"wandb": {"id": "abc-1", "written": 3} | told}}))
    return Recorder(root, "run", {}, 60, "f", {}, print)._held()


def test_an_id_from_a_file_is_no_path(tmp_path):
    assert recorded(tmp_path) == {"wandb": {"id": "abc-1", "written": 3}}
    for hostile in ("../../elsewhere", "a/b", "a b", "x" * 65, "é", 3, None):
        assert recorded(tmp_path, id=hostile) == {}


@pytest.mark.parametrize(
    ("run", "name"),
    [
        (Run("digits", "resnet20", 3), "digits/resnet20 dense seed=3"),
        (Run("digits", "resnet20", 0, "layers", "snip", 0, "init", 2, "0"), "digits/resnet20 snip removed=2 seed=0"),
        (
            Run("a.b", "my_net", 1, "filters", "l1", 4, "trained", 1, "random"),
            "a.b/my_net l1 removed=1 structure=filters scored_at=trained rewind=random draw=4 seed=1",
        ),
    ],
)
def test_runs_have_readable_names(tmp_path, run, name):
    folder, found, facts = named(tmp_path / "out" / run.folder)
    assert (folder, found) == (str(tmp_path / "out" / "live"), name)
    assert facts["seed"] == run.seed
    assert facts["criterion"] == (run.criterion if run.removed else "dense")


def test_names_tell_all_runs_of_a_wide_grid_apart(tmp_path):
    runs = [Run("digits", network, seed) for network in ("a", "b") for seed in (0, 1)]
    for structure in ("layers", "filters", "dense_at_cost"):
        for criterion in ("dense", "removed", "l1"):
            for draw, scored_at, removed, rewind in ((0, "init", 1, "0"), (1, "trained", 2, "1"), (0, "init", 1, "10")):
                runs.append(Run("digits", "a", 0, structure, criterion, draw, scored_at, removed, rewind))
    assert len({named(tmp_path / run.folder)[1] for run in runs}) == len(runs)
