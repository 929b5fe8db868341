"""Whether jobs share a file system, as Snakemake was told, and what rules then declare."""

from types import SimpleNamespace

import pytest
from snakemake.settings.types import SharedFSUsage

from layerlottery.config.data import Digits, ImageFolder
from layerlottery.errors import LayerLotteryError
from layerlottery.runtime.begin import Runtime
from layerlottery.runtime.sharing import check_stored

ALL, NONE = SharedFSUsage.all(), frozenset()
IMAGES = "results/datasets/dataset={dataset}/images.npy"


def runtime(provider, usage):
    settings = SimpleNamespace(default_storage_provider=provider, shared_fs_usage=usage)
    return Runtime(SimpleNamespace(storage_settings=settings), None, ())


@pytest.mark.parametrize(
    ("provider", "usage", "shared"),
    [
        (None, ALL, True),
        ("s3", ALL, False),
        ("s3", NONE, False),
        (None, NONE, False),
        (None, ALL - {SharedFSUsage.INPUT_OUTPUT}, False),
        (None, frozenset({SharedFSUsage.INPUT_OUTPUT}), True),
    ],
)
def test_jobs_share_files_unless_snakemake_brings_or_sends_them(provider, usage, shared):
    assert runtime(provider, usage).shares_files is shared


def test_on_a_shared_disk_rules_stay_as_they_are():
    shared = runtime(None, ALL)
    assert shared.carried([IMAGES]) == shared.carried(lambda wildcards: [IMAGES]) == []
    assert shared.beside("facts", IMAGES) == IMAGES


def test_sets_that_are_kept_encoded_need_a_shared_disk():
    own = ImageFolder(source="folder", location="images", stored="encoded")
    check_stored({"own": own}, shared=True)
    check_stored({"digits": Digits(source="digits")}, shared=False)
    with pytest.raises(LayerLotteryError, match=r"^datasets\.own\.stored: found encoded; allowed without a shared"):
        check_stored({"own": own}, shared=False)


def test_elsewhere_rules_name_files_and_find_them_beside_an_input():
    apart = runtime("s3", NONE)
    assert apart.carried([IMAGES]) == [IMAGES]
    given = SimpleNamespace(facts=".snakemake/storage/s3/bucket/datasets/dataset=a/outliers.json")
    found = apart.beside("facts", IMAGES)(None, input=given)
    assert found == ".snakemake/storage/s3/bucket/datasets/dataset=a/images.npy"
