"""A ticket beside a dense network that was trained in another type is said; networks of one type are no news."""

import shutil

from tests.unit.results_folder import DENSE, TICKETS
from tests.unit.tables.by_hand import settings

from layerlottery import paths
from layerlottery.store.artifacts import read_facts, write_facts
from layerlottery.tables.aggregate import aggregate


def trained_in(folder, run, precision):
    path = folder / paths.training_facts(run.folder)
    facts = read_facts(path)
    write_facts(path, facts | {"precision": precision}, config_hash=facts.pop("config_hash"))


def test_tickets_of_another_type_than_their_dense_network_are_counted(results, tmp_path, caplog):
    folder = tmp_path / "results"
    shutil.copytree(results, folder)
    aggregate(folder, settings())
    assert not caplog.records
    trained_in(folder, TICKETS[1], "bfloat16")
    aggregate(folder, settings())
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "training.precision: 1 of 6 tickets were trained in another type" in record.getMessage()
    assert "(bfloat16 beside float32: 1)" in record.getMessage()


def test_a_dense_network_and_its_tickets_may_have_another_type_than_other_seeds(results, tmp_path, caplog):
    folder = tmp_path / "results"
    shutil.copytree(results, folder)
    for run in (run for run in (*DENSE, *TICKETS) if run.seed == 0):
        trained_in(folder, run, "bfloat16")
    aggregate(folder, settings())
    # those of random and of filters are still in float32
    assert "2 of 6 tickets" in caplog.records[0].getMessage()
