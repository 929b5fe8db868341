"""The table resilience of the results folder made by hand: every measure worked out on paper."""

import pytest
from scipy import stats

from layerlottery.config.studies import AggregateSettings
from layerlottery.store.artifacts import read_table
from layerlottery.tables.aggregate import aggregate

STUDY = {"name": "by_hand", "datasets": ["digits"], "networks": ["resnet20"], "seeds": [0, 1], "removed": [1]}
STUDIES = [STUDY | {"criteria": ["l1", "random"]}]
STUDIES += [STUDY | {"name": "filters", "structures": ["filters"], "criteria": ["l1"]}]


@pytest.fixture(scope="module")
def resilience(results):
    aggregate(results, AggregateSettings.model_validate({"studies": STUDIES, "energy": {"carbon_intensity": 0.5}}))
    rows = read_table(results / "tables" / "resilience.parquet").to_pylist()
    layers = [row for row in rows if (row["criterion"], row["structure"]) == ("l1", "layers")]
    return {(row["measure"], row["name"], row["level"]): row for row in layers}


def test_measures_of_corruption_by_hand(resilience):
    # dense: clean 90 and 94, contrast 80 and 84, fog 70, 50 and 74, 54; the ticket's clean 91 and 93
    own = [((91 - 12) + (71 + 55) / 2) / 2, ((93 - 12) + (73 + 57) / 2) / 2]
    dense = [(80 + 60) / 2, (84 + 64) / 2]
    row = resilience["accuracy, corrupted", None, None]
    assert (row["value"], row["dense"], row["difference"]) == (
        sum(own) / 2,
        sum(dense) / 2,
        (sum(own) - sum(dense)) / 2,
    )
    assert resilience["accuracy, corrupted", "fog", None]["value"] == (63 + 65) / 2
    # the extras stand apart
    assert resilience["accuracy, extra corruptions", None, None]["value"] == (86 + 88) / 2
    assert resilience["accuracy, corrupted", "spatter", None]["dense"] == (85 + 89) / 2
    # errors: contrast 21 of 20, fog 74 of 80; in the other seed 19 of 16 and 70 of 72
    mce = [100 * (21 / 20 + 74 / 80) / 2, 100 * (19 / 16 + 70 / 72) / 2]
    row = resilience["mCE", None, None]
    assert (row["value"], row["dense"], row["better"], row["unit"]) == (pytest.approx(sum(mce) / 2), 100, "lower", "%")
    # from the same images uncorrupted: errors 10 and 8 (ticket), 11 and 7 (dense), at each of fog's two severities
    relative = [100 * (11 / 9 + 54 / 58) / 2, 100 * (11 / 9 + 54 / 58) / 2]
    assert resilience["relative mCE", None, None]["value"] == pytest.approx(sum(relative) / 2)


def test_measures_of_the_other_tests_by_hand(resilience):
    assert resilience["gap to clean", "mnist", None]["value"] == 40
    assert resilience["accuracy, attacked", "fgsm", 3.0]["difference"] == -3
    assert resilience["accuracy, attacked", None, None]["difference"] == -2
    assert ("accuracy, attacked", "fgsm", 0.0) not in resilience
    # what is crafted on the dense network is compared with nothing
    assert not any(name == "pgd" for _, name, _ in resilience)
    row = resilience["median minimum norm", "fmn", None]
    assert (row["value"], row["dense"], row["unit"], row["better"]) == (2.25, 2.0, "1/255", "higher")
    assert resilience["AUROC", "shuffled, msp", None]["difference"] == 0.0625
    assert resilience["FPR at 95 % TPR", "shuffled, energy", None]["difference"] == -0.125
    assert resilience["ECE", "clean", None]["value"] == 0.0625
    assert resilience["NLL, scaled", "corruptions", None]["value"] == pytest.approx(0.2)


def test_intervals_and_tests_of_measures(resilience):
    row = resilience["accuracy, corrupted", "contrast", None]
    # differences 1 - 2 and -1 - 2: mean -2, standard deviation and error
    assert (row["seeds"], row["difference"], row["sd"]) == (2, -2, pytest.approx(2**0.5))
    assert (row["low"], row["high"]) == pytest.approx((-2 - 12.7062, -2 + 12.7062), rel=1e-5)
    assert row["p_value"] == pytest.approx(stats.ttest_1samp([-1.0, -3.0], 0).pvalue)
    assert (row["role"], row["p_holm"], row["method"]) == ("exploratory", None, "seeds")
    assert row["q_value"] >= row["p_value"]
    # seeds that agree by chance have no interval where a measure is no count of images
    row = resilience["FPR at 95 % TPR", "shuffled, energy", None]
    assert (row["low"], row["p_value"], row["outcome"]) == (None, None, "undecided")
    # and the one of one image more or less where it is: of 50, twice 3 percentage points less
    row = resilience["accuracy, attacked", "fgsm", 3.0]
    assert (row["difference"], row["se"], row["outcome"]) == (-3, 2.0, "undecided")
    assert row["p_value"] == pytest.approx(2 * stats.t.sf(1.5, 49))


def test_primary_endpoints_are_one_family(resilience):
    primary = {key for key, row in resilience.items() if row["role"] == "primary"}
    # no pgd was run against these networks
    assert primary == {("accuracy, clean", None, None), ("accuracy, corrupted", None, None)}
    assert all(resilience[key]["p_holm"] >= resilience[key]["p_value"] for key in primary)
