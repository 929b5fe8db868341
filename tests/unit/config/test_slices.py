"""What of a configuration a stage sees: the same settings give the same text, and only what it sees changes it."""

from layerlottery.config.loading import load_benchmark
from layerlottery.config.studies import Run

CHOICES = {"datasets": ["digits"], "networks": ["resnet20"], "seeds": [0], "criteria": ["random"], "removed": [1, 2]}
GIVEN = {"datasets": {"digits": {"source": "digits"}}, "studies": [CHOICES | {"name": "first"}]}


def test_slices_are_canonical_and_leave_defaults_out():
    benchmark = load_benchmark(GIVEN | {"training": {"momentum": 0.9, "schedule": "cosine", "epochs": 3}})
    assert benchmark.training.slice() == '{"epochs":3,"schedule":"cosine"}'
    assert benchmark.attack.slice() == "{}"
    run = benchmark.runs()[2]
    assert benchmark.network_slice(run) == '{"depth":20}'
    assert benchmark.dataset_slice(run) == '{"source":"digits"}'
    assert benchmark.criterion_slice(run) == '{"function":"random"}'


def test_slices_do_not_depend_on_key_order():
    training = {"epochs": 3, "schedule": "cosine", "batch_size": 7}
    one, other = (
        load_benchmark(GIVEN | {"training": chosen}) for chosen in (training, dict(reversed(training.items())))
    )
    assert one.training.slice() == other.training.slice()
    assert one.aggregate_slice() == other.aggregate_slice()


def test_equal_numbers_give_equal_slices():
    one, other = (load_benchmark(GIVEN | {"training": {"learning_rate": rate}}) for rate in (1, 1.0))
    assert one.training.slice() == other.training.slice()


def test_a_slice_reads_back_as_the_same_settings():
    benchmark = load_benchmark(GIVEN | {"training": {"epochs": 3}, "attack": {"epsilons": [4], "images": None}})
    assert type(benchmark.attack).model_validate_json(benchmark.attack.slice()) == benchmark.attack
    assert type(benchmark.training).model_validate_json(benchmark.training.slice()) == benchmark.training


def test_only_the_changed_part_moves_its_slice():
    before, after = load_benchmark(GIVEN), load_benchmark(GIVEN | {"energy": {"country": "FRA"}})
    assert before.aggregate_slice() != after.aggregate_slice()
    assert before.training.slice() == after.training.slice()
    resources = load_benchmark(GIVEN | {"resources": {"training_threads": 4}})
    assert resources.aggregate_slice() == before.aggregate_slice()


def test_official_corruptions_are_the_corrupt_stage_s_alone():
    given = {"source": "torchvision", "set": "CIFAR10"}
    run = Run("digits", "resnet20", 0)

    def slices(*sets):
        benchmark = load_benchmark(GIVEN | {"datasets": {"digits": given | {"official": {"sets": list(sets)}}}})
        return benchmark.dataset_slice(run), benchmark.official_slice(run)

    plain, corrupted, shifted = slices(), slices("CIFAR-10-C"), slices("CIFAR-10.1")
    assert corrupted[0] == plain[0] != shifted[0]
    assert corrupted[1] != plain[1] == shifted[1]
