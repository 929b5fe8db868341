"""The table agreement against plain loops over images."""

from itertools import combinations

import numpy as np
import pyarrow as pa
import pytest
from tests.unit.tables.test_summary import dense, ticket
from tests.unit.tables.toy import placed, records

from layerlottery.tables.agreement import agreement
from layerlottery.tables.answers import Answers

IMAGES, CLASSES = 37, 5


def kept(predicted, labels, lacking=(), images=None):
    """Answers as aggregation collects them, but for places that lack them; `images` names each one's list."""
    held = Answers()
    rows = [
        {"place": place, "kind": "clean", "name": "clean", "level": 0.0, "images": len(labels)}
        | {"images_hash": "a" if images is None else images[place]}
        | {"answers": np.packbits(own == labels).tobytes(), "predicted": own.astype(np.uint8).tobytes()}
        for place, own in enumerate(predicted)
        if place not in lacking
    ]
    schema = {"answers": pa.binary(), "predicted": pa.binary()}
    table = pa.Table.from_pylist(rows)
    for name, kind in schema.items():
        table = table.set_column(table.column_names.index(name), name, table[name].cast(kind))
    held.add(table)
    return held


@pytest.fixture(scope="module")
def benchmark():
    rows = dense([0, 1, 2])
    for name in ("snip", "random"):
        rows += [row | {"draw": 0} for row in ticket([(seed, 0.0) for seed in (0, 1, 2)], criterion=name)]
    rows += [row | {"draw": 0} for row in ticket([(0, 0.0)], criterion="l1", removed=2)]
    networks = placed(rows)
    random = np.random.default_rng(0)
    labels = random.integers(0, CLASSES, IMAGES)
    predicted = np.where(random.random((len(networks), IMAGES)) < 0.7, labels, random.integers(0, CLASSES, IMAGES))
    return networks, predicted, labels


def by_hand(pairs, predicted, labels):
    """Churn, both wrong and agreement, image by image."""
    found = []
    for one, other in pairs:
        counts = [0, 0, 0]
        for first, second, label in zip(predicted[one], predicted[other], labels, strict=True):
            counts[0] += (first == label) != (second == label)
            counts[1] += first != label and second != label
            counts[2] += first == second
        found.append([100 * count / IMAGES for count in counts])
    return np.mean(found, axis=0).tolist()


def test_every_pair_is_counted_image_by_image(benchmark):
    networks, predicted, labels = benchmark
    found = {
        (row["criterion"], row["beside"], row["criterion_other"]): row
        for row in records(agreement(networks, kept(predicted, labels)))
    }
    place = {
        (row.criterion if row.removed else None, row.removed, row.seed): row.place for row in networks.itertuples()
    }
    of = {name: [place[name, size, seed] for seed in seeds] for name, size, seeds in (
        (None, 0, (0, 1, 2)), ("snip", 1, (0, 1, 2)), ("random", 1, (0, 1, 2)), ("l1", 2, (0,)),
    )}  # fmt: skip
    expected = {
        (None, "itself", None): list(combinations(of[None], 2)),
        ("snip", "dense", None): list(zip(of["snip"], of[None], strict=True)),
        ("snip", "itself", None): list(combinations(of["snip"], 2)),
        ("random", "dense", None): list(zip(of["random"], of[None], strict=True)),
        ("random", "itself", None): list(combinations(of["random"], 2)),
        ("snip", "ticket", "random"): list(zip(of["snip"], of["random"], strict=True)),
        ("l1", "dense", None): [(of["l1"][0], of[None][0])],
    }
    assert found.keys() == expected.keys()
    for key, pairs in expected.items():
        row = found[key]
        assert row["pairs"] == len(pairs)
        values = [row[name] for name in ("churn", "both_wrong", "agreement")]
        assert values == pytest.approx(by_hand(pairs, predicted, labels)), key


def test_many_pairs_are_averaged_in_parts(benchmark, monkeypatch):
    networks, predicted, labels = benchmark
    whole = agreement(networks, kept(predicted, labels))
    monkeypatch.setattr("layerlottery.tables.agreement.PAIRS", 2)
    parts = agreement(networks, kept(predicted, labels))
    assert parts["churn"].tolist() == pytest.approx(whole["churn"].tolist())


def test_without_answers_there_is_no_agreement(benchmark):
    assert agreement(benchmark[0], Answers()).empty


def test_equal_blocks_and_architectures_are_counted(benchmark):
    networks, predicted, labels = benchmark
    changed = networks.assign(architecture="same")
    changed["removed_blocks"] = [["stage1.1"] if one == 1 else [] for one in networks["removed"]]
    rows = records(agreement(changed, kept(predicted, labels)))
    (pair,) = [row for row in rows if row["beside"] == "ticket"]
    (beside,) = [row for row in rows if (row["criterion"], row["beside"]) == ("snip", "dense")]
    assert (pair["same_blocks"], pair["same_architecture"]) == (1.0, 1.0)
    assert (beside["same_blocks"], beside["same_architecture"]) == (0.0, 0.0)


def test_pairs_that_lack_answers_are_left_out_and_no_others(benchmark):
    networks, predicted, labels = benchmark
    (lacking,) = networks.loc[(networks["criterion"] == "snip") & (networks["seed"] == 1), "place"]
    rows = {
        (row["criterion"], row["beside"]): row
        for row in records(agreement(networks, kept(predicted, labels, [lacking])))
    }
    row = rows["snip", "dense"]
    pairs = networks.loc[(networks["criterion"] == "snip") & (networks["seed"] != 1), ["place", "dense"]].to_numpy()
    assert row["pairs"] == 2
    assert [row[name] for name in ("churn", "both_wrong", "agreement")] == pytest.approx(
        by_hand(pairs, predicted, labels)
    )
    assert (rows["snip", "itself"]["pairs"], rows["snip", "ticket"]["pairs"]) == (1, 2)
    assert (rows["random", "itself"]["pairs"], rows[None, "itself"]["pairs"]) == (3, 3)


def test_answers_to_other_images_are_not_compared(benchmark):
    networks, predicted, labels = benchmark
    # seeds 1 and 2 were tested on another list than seed 0
    images = ["a" if seed == 0 else "b" for seed in networks["seed"]]
    rows = {
        (row["criterion"], row["beside"]): row
        for row in records(agreement(networks, kept(predicted, labels, images=images)))
    }
    assert (rows["snip", "dense"]["pairs"], rows["snip", "itself"]["pairs"]) == (3, 1)
    pairs = networks.loc[networks["criterion"] == "snip", ["place", "dense"]].to_numpy()
    assert rows["snip", "dense"]["churn"] == pytest.approx(by_hand(pairs, predicted, labels)[0])


def test_dense_networks_trained_for_less_keep_the_dense_architecture():
    rows = dense([0, 1]) + [row | {"draw": 0} for row in ticket([(0, 0.0), (1, 0.0)], structure="dense_at_cost")]
    networks = placed(rows).assign(architecture=lambda rows: "hash " + rows["structure"])
    networks["removed_blocks"] = [[] for _ in rows]
    labels = np.zeros(IMAGES, int)
    found = records(agreement(networks, kept(np.zeros((4, IMAGES), int), labels)))
    (row,) = [row for row in found if row["beside"] == "dense"]
    assert (row["same_architecture"], row["same_blocks"]) == (1.0, 1.0)
