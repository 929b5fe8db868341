"""Inference on toy networks whose answers were kept, against a mixed model, plain loops and what is known of them."""

import itertools

import numpy as np
import pandas as pd
import pytest
from tests.unit.tables.test_summary import dense, ticket
from tests.unit.tables.toy import answers_of, inferred, placed

from layerlottery.config.results import StatisticsSettings
from layerlottery.tables.crossed import contrast, pool
from layerlottery.tables.inference import Contrasts
from layerlottery.tables.statistics import p_differs

SETTINGS = StatisticsSettings(primary=["clean"])
SEEDS, IMAGES = 4, 60


def answered(networks, *, luck=0.6, seed=1):
    """Answers of these networks, (places, images), and their accuracy in the frame."""
    random = np.random.default_rng(seed)
    logits = 2 + 2 * random.standard_normal(IMAGES) + luck * random.standard_normal((len(networks), 1))
    answers = answers_of(logits, seed=seed)
    return networks.assign(accuracy=100 * answers.mean(axis=1)), answers


@pytest.fixture(scope="module")
def three():
    """Two tickets and their dense networks, one of them with two draws a seed."""
    drawn = [(seed, 0.0) for seed in range(SEEDS) for _ in range(2)]
    rows = dense(range(SEEDS)) + ticket([(seed, 0.0) for seed in range(SEEDS)])
    for number, row in enumerate(rows[SEEDS:]):
        row |= {"draw": 0, "seed": number}
    second = ticket(drawn, removed=2)
    for number, row in enumerate(second):
        row["draw"] = number % 2
    return answered(placed(rows + second))


def by_hand(networks, answers):
    """Tables (seeds, images) of every ticket minus dense, by loops, and the answers of all kinds of networks."""
    kinds, tables = {}, {}
    for row in networks.itertuples():
        kinds.setdefault((row.removed, row.draw), {})[row.seed] = answers[row.place].astype(float)
    for removed in (1, 2):
        draws = [own for (size, _), own in kinds.items() if size == removed]
        tables[removed] = np.array(
            [sum(own[seed] for own in draws) / len(draws) - kinds[0, 0][seed] for seed in range(SEEDS)]
        )
    return tables, np.array([[own[seed] for seed in range(SEEDS)] for own in kinds.values()])


def test_tickets_and_draws_are_contrasts_of_all_networks(three):
    networks, answers = three
    rows = inferred(networks, SETTINGS, answers)[0].set_index("removed")
    tables, every = by_hand(networks, answers)
    pooled = pool(every)
    for removed, table in tables.items():
        expected, row = contrast(table, pooled), rows.loc[removed]
        assert row["difference"] == pytest.approx(100 * table.mean())
        assert (row["se"], row["df"]) == (pytest.approx(100 * expected.se), pytest.approx(expected.df))
        assert row["seed_variance"] + row["image_variance"] == pytest.approx(row["se"] ** 2)
        assert row["method"] == "seeds and images"
        assert row["sd"] == pytest.approx(100 * table.mean(axis=1).std(ddof=1))


def test_many_at_a_time_are_each_alone(three, monkeypatch):
    networks, answers = three
    whole = inferred(networks, SETTINGS, answers)[0]
    monkeypatch.setattr("layerlottery.tables.inference.HELD", SEEDS * IMAGES)
    pd.testing.assert_frame_equal(inferred(networks, SETTINGS, answers)[0], whole)


def test_without_answers_seeds_are_all_there_is(three):
    networks, _ = three
    rows = inferred(networks, SETTINGS)[0]
    assert set(rows["method"]) == {"seeds"}
    assert rows["se"].tolist() == pytest.approx((rows["sd"] / np.sqrt(SEEDS)).tolist())


def test_agreement_by_chance_has_an_interval_of_one_image(three):
    networks, answers = three
    same = np.broadcast_to(answers[0], answers.shape)
    rows = inferred(networks.assign(accuracy=100 * same.mean(axis=1)), SETTINGS, same)[0]
    assert rows["se"].tolist() == pytest.approx([100 / IMAGES] * 2)
    assert set(rows["outcome"]) == {"undecided"}
    assert (rows["p_value"] == 1).all()


def test_tickets_of_other_seeds_stand_in_their_own_pool(three):
    networks, answers = three
    # the first ticket lacks a seed
    kept = ~((networks["removed"] == 1) & (networks["seed"] == 3))
    fewer = placed(networks[kept].drop(columns=["place", "dense"]).to_dict("records"))
    rows = inferred(fewer, SETTINGS, answers[kept.to_numpy()])[0].set_index("removed")
    assert rows["seeds"].tolist() == [3, 4]
    tables, every = by_hand(networks, answers)
    expected = contrast(tables[1][:3], pool(every[:, :3]))
    assert rows.loc[1, "se"] == pytest.approx(100 * expected.se)
    # and all but this ticket are the pool of the other
    expected = contrast(tables[2], pool(np.delete(every, 1, axis=0)))
    assert rows.loc[2, "se"] == pytest.approx(100 * expected.se)


def test_networks_without_answers_leave_a_group_to_its_seeds(three):
    networks, answers = three
    other = networks.assign(network="resnet32")
    both = placed(pd.concat([networks, other]).drop(columns=["place", "dense"]).to_dict("records"))
    measured = inferred(both, SETTINGS)[1]
    conditions = {place: named for place, named in measured.conditions.items() if place < len(networks)}
    inference = inferred(both, SETTINGS, np.concatenate([answers, answers]))[2]
    tickets = both[both["removed"] > 0]
    ours = tickets[["seed", "place"]].assign(contrast=tickets["network"])
    found = inference.of(
        Contrasts.between(ours, ours.assign(place=tickets["dense"]), len(both)),
        measured._replace(conditions=conditions),
    )
    assert found["method"].to_dict() == {"resnet20": "seeds and images", "resnet32": "seeds"}


def test_a_network_without_answers_leaves_its_own_contrasts_to_their_seeds(three):
    networks, answers = three
    lacking = networks.loc[(networks["removed"] == 1) & (networks["seed"] == 2), "place"].tolist()
    rows = inferred(networks, SETTINGS, answers, lacking)[0].set_index("removed")
    assert rows["method"].to_dict() == {1: "seeds", 2: "seeds and images"}
    assert rows.loc[1, "se"] == pytest.approx(rows.loc[1, "sd"] / np.sqrt(SEEDS))
    # of the other one, all that answered in every seed are the pool
    tables, every = by_hand(networks, answers)
    expected = contrast(tables[2], pool(np.delete(every, 1, axis=0)))
    assert (rows.loc[2, "se"], rows.loc[2, "df"]) == (pytest.approx(100 * expected.se), pytest.approx(expected.df))


def test_without_a_pool_a_contrast_has_its_own_noise():
    # each seed has a draw of its own, so that no kind of network has all seeds but the dense one, which lacks answers
    seeds = [(seed, 0.0) for seed in range(SEEDS)]
    networks, answers = answered(placed(dense(range(SEEDS)) + ticket(seeds) + ticket(seeds, removed=2)))
    measured, inference = inferred(networks, SETTINGS, answers, range(SEEDS))[1:]
    ours, theirs = (networks.loc[networks["removed"] == size, ["seed", "place"]].assign(contrast=0) for size in (1, 2))
    (row,) = inference.of(Contrasts.between(ours, theirs, len(networks)), measured).to_dict("records")
    table = answers[ours["place"]].astype(float) - answers[theirs["place"]]
    expected = contrast(table, pool(answers[None, ours["place"]]))
    assert row["method"] == "seeds and images"
    assert (row["se"], row["df"]) == (pytest.approx(100 * expected.se), pytest.approx(expected.df))


def test_one_training_under_two_names_is_once_in_the_pool(three):
    networks, answers = three
    plain = inferred(networks, SETTINGS, answers)[0].set_index(["criterion", "removed"])
    copy = networks[networks["removed"] == 1].assign(criterion="depths_1_0_0", rewind="random")
    rows = pd.concat([networks.assign(config_hash=networks["place"]), copy.assign(config_hash=copy["place"])])
    whole = placed(rows.drop(columns=["place", "dense"]).to_dict("records"))
    again = np.concatenate([answers, answers[copy["place"]]])
    found = inferred(whole, SETTINGS, again)[0].set_index(["criterion", "removed"])
    for name in ("se", "df"):
        assert found.loc[plain.index, name].tolist() == pytest.approx(plain[name].tolist())
    assert found.loc[("depths_1_0_0", 1), "se"] == pytest.approx(plain["se"].iloc[0])
    # what only answers alike, trained on its own, does count
    other = inferred(whole.assign(config_hash=whole["place"]), SETTINGS, again)[0]
    assert (other["df"].to_numpy() > found["df"].to_numpy()).any()


def test_one_seed_infers_nothing_whatever_the_images():
    networks, answers = answered(placed(dense([0]) + ticket([(0, 0.0)])))
    row = inferred(networks, SETTINGS, answers)[0].iloc[0]
    assert (row["method"], row["outcome"]) == ("single seed", "single seed")
    assert np.isnan([row["se"], row["low"], row["p_value"], row["sd"]]).all()


@pytest.mark.parametrize("luck", [0.0, 0.5])
def test_of_tickets_without_effect_few_differ(luck):
    # at a level of 5 %; the tickets of one set share their dense networks, so that sets are counted
    found = []
    for repeat, size in itertools.product(range(150), [3]):
        rows = dense(range(size))
        for removed in (1, 2, 3, 4):
            rows += [row | {"draw": 0} for row in ticket([(seed, 0.0) for seed in range(size)], removed=removed)]
        networks, answers = answered(placed(rows), luck=luck, seed=repeat)
        found.append(inferred(networks, SETTINGS, answers)[0]["p_holm"].min() <= 0.05)
    assert np.mean(found) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / len(found))


def test_a_gain_that_other_images_would_not_give_is_not_proven():
    # every seed gains on the same three of 60 images: seeds agree, images do not
    networks = placed(dense(range(5)) + [row | {"draw": 0} for row in ticket([(seed, 0.0) for seed in range(5)])])
    answers = np.ones((len(networks), IMAGES), np.uint8)
    answers[networks["removed"] == 0, :3] = 0
    rows = inferred(networks.assign(accuracy=100 * answers.mean(axis=1)), SETTINGS, answers)[0]
    # McNemar's test of three images against none: the exact two-sided p is 1/4
    assert rows.loc[0, "difference"] == pytest.approx(5.0)
    assert 0.05 < p_differs(rows.rename(columns={"difference": "mean"}))[0] < 0.25


def test_co2_is_tested_only_where_power_was_measured(three):
    networks, answers = three
    emitted = networks.assign(co2_kg=1.0 + 0.01 * networks["seed"] ** 2 - 0.1 * networks["removed"])
    settings = StatisticsSettings(primary=["clean", "co2"])
    modelled = inferred(emitted, settings, answers)[0]
    assert set(modelled["measure"]) == {"accuracy, clean"}
    metered = emitted.assign(power_source="rapl")
    metered["co2_kg"] += 0.001 * np.arange(len(metered)) ** 2 % 0.007
    rows = inferred(metered, settings, answers)[0]
    emissions = rows[rows["measure"] == "CO2 of the training"]
    assert set(emissions["role"]) == {"primary"}
    assert (emissions["difference"] < 0).all()
    assert set(emissions["outcome"]) == {"better"}
    # one family: four tests
    assert (rows["p_holm"].min() / rows["p_value"].min()) == pytest.approx(4)
