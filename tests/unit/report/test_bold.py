"""Bold cells of tables whose answers were kept, by plain loops over seeds, images and pairs."""

from itertools import combinations

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from tests.unit.report.conftest import write_rows
from tests.unit.tables.toy import answers_of

from layerlottery.errors import LayerLotteryError
from layerlottery.report.publication import Asked, publication
from layerlottery.tables.crossed import contrast, pool

SEEDS, IMAGES = 6, 400
CLEAN = {"kind": "clean", "name": "clean", "level": 0.0, "images": IMAGES}


def write_answers(folder, skill):
    """Give every network answers of its own, and the accuracy that they have; `skill` is by network and criterion."""
    runs = pq.read_table(folder / "runs.parquet").to_pylist()
    rng = np.random.default_rng(5)
    difficulty = 1 + 1.5 * rng.standard_normal(IMAGES)
    own = np.array([skill.get((run["network"], run["criterion"]), 0.3) for run in runs])
    answers = answers_of(difficulty + own[:, None] + 0.05 * rng.standard_normal((len(runs), 1)), seed=1)
    for place, (run, row) in enumerate(zip(runs, answers, strict=True)):
        run |= {"accuracy": 100 * float(row.mean()), "config_hash": f"{place:064x}"}
    kept = [run | CLEAN | {"images_hash": "a", "answers": np.packbits(row).tobytes()}
            for run, row in zip(runs, answers, strict=True)]  # fmt: skip
    write_rows(folder, "runs", runs)
    write_rows(folder, "robustness", [run | CLEAN for run in runs])
    write_rows(folder, "answers", kept)
    return runs, answers


@pytest.fixture(scope="module")
def answered(make, tmp_path_factory):
    given = {
        "seeds": tuple(range(SEEDS)),
        "criteria": ("snip", "grasp", "l1", "kl"),
        "removed": (1,),
        "kinds": (),
        "fills": (),
    }
    folder = make(tmp_path_factory.mktemp("answered"), **given)
    return folder, *write_answers(
        folder, {("resnet32", "snip"): 0.6, ("resnet32", "grasp"): 0.55, ("resnet32", "l1"): -0.6}
    )


def by_loops(runs, answers, names):
    """Of one column: which cells are shown to be lower than the highest mean."""
    kinds = {}
    for run, row in zip(runs, answers, strict=True):
        kinds.setdefault((run["network"], run["criterion"]), {})[run["seed"]] = row.astype(float)
    tables = {kind: np.array([own[seed] for seed in sorted(own)]) for kind, own in kinds.items()}
    pooled, pairs = pool(np.array(list(tables.values()))), list(combinations(names, 2))
    p_values = []
    for one, other in pairs:
        found = contrast(tables[one] - tables[other], pooled)
        p_values.append(2 * stats.t.sf(abs(found.estimate / found.se), found.df))
    rejected = multipletests(p_values, method="holm")[0]
    top = max(names, key=lambda kind: tables[kind].mean())
    return {kind for pair, apart in zip(pairs, rejected, strict=True) for kind in pair if apart and top in pair} - {top}


def test_seeds_and_images_both_count(answered):
    folder, runs, answers = answered
    table = publication(folder, Asked("criterion", "removed", bold="holm"))
    lost = by_loops(runs, answers, [("resnet32", name) for name in ("snip", "grasp", "l1", "kl")])
    plain = dict(zip(table.cells["row"], table.cells["bold"], strict=True))
    assert {("resnet32", name) for name, bold in plain.items() if not bold} == lost
    assert ("resnet32", "l1") in lost
    assert plain["snip"]
    assert "all 6 pairs within the columns, paired by seed and test image," in table.caption


def test_without_answers_seeds_are_all_there_is(answered):
    folder, *_ = answered
    (folder / "answers.parquet").rename(folder / "answers")
    caption = publication(folder, Asked("criterion", "removed", bold="holm")).caption
    (folder / "answers").rename(folder / "answers.parquet")
    assert "paired by seed, and corrected" in caption


@pytest.fixture(scope="module")
def two_networks(make, tmp_path_factory):
    given = {"criteria": ("snip",), "removed": (1,), "kinds": (), "fills": ()}
    groups = (("digits", "resnet20"), ("digits", "resnet32"))
    folder = make(tmp_path_factory.mktemp("two"), seeds=tuple(range(SEEDS)), groups=groups, **given)
    return folder, *write_answers(folder, {("resnet20", "snip"): -0.8, ("resnet32", "snip"): 0.8})


def test_networks_of_a_column_are_compared_on_the_same_images(two_networks):
    folder, runs, answers = two_networks
    table = publication(folder, Asked("network", "criterion", bold="holm"))
    lost = by_loops(runs, answers, [("resnet20", "snip"), ("resnet32", "snip")])
    assert lost == {("resnet20", "snip")}
    assert dict(zip(table.cells["row"], table.cells["bold"], strict=True)) == {"resnet20": False, "resnet32": True}


def test_what_can_not_be_compared_is_refused(two_networks, make, tmp_path):
    with pytest.raises(LayerLotteryError, match="--bold holm: found --value delta of several networks in a column"):
        publication(two_networks[0], Asked("network", "criterion", "delta", "holm"))
    groups = (("digits", "resnet20"), ("photos", "resnet20"))
    folder = make(tmp_path, groups=groups, criteria=("snip",), removed=(1,), kinds=(), fills=())
    with pytest.raises(LayerLotteryError, match="--bold holm: found several data sets in a column"):
        publication(folder, Asked("dataset", "criterion", bold="holm"))
    # beside each other they may stand
    assert len(publication(folder, Asked("criterion", "dataset", bold="holm")).cells) == 2
