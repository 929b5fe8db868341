"""The columns of every result table, with unit and meaning: the source of docs/data_dictionary.md."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from layerlottery import paths

TEXT, INTEGER, REAL, BLOCKS = pa.string(), pa.int64(), pa.float64(), pa.list_(pa.string())


@dataclass(frozen=True)
class Column:
    """One column: its Arrow type and what it holds.

    `varies` marks what may differ between two runs of one configuration on one kind of machine: times, energy,
    provenance.
    """

    name: str
    type: pa.DataType
    meaning: str
    varies: bool = False


IDENTITY = (
    Column("dataset", TEXT, "name of the image set in the configuration"),
    Column("network", TEXT, "name of the architecture"),
    Column("seed", INTEGER, "seed of the initial weights and of the data order; pairs a ticket with its dense network"),
    Column("structure", TEXT, "what was removed: none (dense network), layers, filters, weights"),
    Column("criterion", TEXT, "name of the criterion that scored the blocks; null for dense networks"),
    Column("draw", INTEGER, "which draw of the criterion's random choices or scoring images; 0 for dense networks"),
    Column("scored_at", TEXT, "weights that were scored: init or trained; null for dense networks"),
    Column("removed", INTEGER, "residual blocks removed, or matched in filters or weights; 0 for dense networks"),
    Column("rewind", TEXT, "epoch whose weights the training starts from, 0 is initialization; random: a fresh draw"),
)


def _named(*names: str) -> tuple[Column, ...]:
    """Columns of a network's identity."""
    return tuple(column for column in IDENTITY if column.name in names)


TICKET = tuple(column for column in IDENTITY if column.name not in ("seed", "draw"))

BESIDE_DENSE = (
    Column("dense_accuracy", REAL, "the same of the dense network of this dataset, network and seed, percent"),
    Column("delta_accuracy", REAL, "accuracy minus dense_accuracy, percentage points"),
)
CALIBRATION = (
    Column("nll", REAL, "mean negative log-likelihood, nats; null for attacks"),
    Column("brier", REAL, "Brier score, 0 to 2; null for attacks"),
    Column("ece", REAL, "expected calibration error, equal-width bins, 0 to 1; null for attacks"),
)
SCALED = (
    Column("nll_scaled", REAL, "nll at the temperature of the table runs, nats; null without one"),
    Column("brier_scaled", REAL, "brier at that temperature, 0 to 2"),
    Column("ece_scaled", REAL, "ece at that temperature, 0 to 1"),
)
MADE_BY = Column("config_hash", TEXT, "SHA-256 of the configuration, code revision and inputs behind this row")

RUNS = (
    *IDENTITY,
    Column("removed_blocks", BLOCKS, "names of the removed blocks, in network order; none for other structures"),
    Column("accuracy", REAL, "accuracy on the clean test set after the last epoch, percent"),
    *BESIDE_DENSE,
    *CALIBRATION,
    Column("temperature", REAL, "what logits are divided by, fitted to the images held out; null without such images"),
    *SCALED,
    Column("ties", INTEGER, "kept blocks, filters or weights that tie with a removed one; network order decided"),
    Column("budget", INTEGER, "filters or parameters that the matching layer ticket keeps; null for layers"),
    Column("filters", INTEGER, "convolution filters left, those of projections included"),
    Column("params", INTEGER, "parameters left; masked weights do not count"),
    Column("macs", INTEGER, "multiply-accumulate operations of convolutions and fully connected layers, one image"),
    Column("macs_reduction", REAL, "MACs saved against the dense network, percent"),
    Column("memory_bytes", INTEGER, "training memory: a batch's activations, parameters, gradients, optimizer"),
    Column("memory_reduction", REAL, "memory_bytes saved against the dense network, percent"),
    Column("latency_ms", REAL, "forward pass, median over rounds of the mean, milliseconds", varies=True),
    Column("latency_batch", INTEGER, "images in a forward pass while timing latency"),
    Column("latency_threads", INTEGER, "threads while timing latency"),
    Column("epochs", INTEGER, "epochs trained: those of the dense network less the rewind"),
    Column("train_images", INTEGER, "images in the training set"),
    Column("train_seconds", REAL, "training without evaluation, all segments of a resumed run, seconds", varies=True),
    Column("images_per_second", REAL, "training images a second", varies=True),
    Column("train_speedup", REAL, "dense train_seconds divided by these; a rewound ticket trains less", varies=True),
    Column("energy_kwh", REAL, "energy of the training process by codecarbon, kWh", varies=True),
    Column("cpu_kwh", REAL, "the processor's part of energy_kwh, kWh", varies=True),
    Column("gpu_kwh", REAL, "the GPU's part of energy_kwh (whole device), kWh", varies=True),
    Column("ram_kwh", REAL, "the memory's part of energy_kwh (estimated, at least 10 W a process), kWh", varies=True),
    Column("energy_reduction", REAL, "energy_kwh saved against the dense network, percent", varies=True),
    Column("co2_kg", REAL, "energy_kwh times carbon_intensity, kg CO2-equivalent", varies=True),
    Column("carbon_intensity", REAL, "kg CO2-equivalent a kWh"),
    Column("co2_lacoste_kg", REAL, "CPU or GPU design power times hours times Lacoste intensity, kg CO2e", varies=True),
    Column("power_source", TEXT, "codecarbon's: cpu_load (design power), rapl (CPU share), gpu (device)", varies=True),
    Column("segments", INTEGER, "pieces in which the training ran; above 1 means it was resumed", varies=True),
    Column("started", TEXT, "start of the first segment, UTC", varies=True),
    Column("ended", TEXT, "end of the last segment, UTC", varies=True),
    Column("device", TEXT, "processor or GPU that trained", varies=True),
    Column("host", TEXT, "machines that trained, in order", varies=True),
    Column("slurm_job_id", TEXT, "SLURM jobs that trained, in order; null outside SLURM", varies=True),
    Column("threads", INTEGER, "threads of the training process"),
    Column("precision", TEXT, "type that convolutions computed in: float32, tf32 or bfloat16"),
    Column("training_settings", TEXT, "every setting of the training, as JSON"),
    Column("criterion_settings", TEXT, "every setting of the criterion, as JSON; null for dense networks"),
    MADE_BY,
    Column("package_version", TEXT, "version of layerlottery that trained", varies=True),
    Column("git_commit", TEXT, "its commit, -dirty if files differed from it; null outside a checkout", varies=True),
    Column("torch_version", TEXT, "version of torch that trained", varies=True),
    Column("cuda_version", TEXT, "CUDA that this torch was built with; null for the CPU's torch", varies=True),
    Column("driver_version", TEXT, "NVIDIA driver; null without one", varies=True),
)

ROBUSTNESS = (
    *IDENTITY,
    Column("kind", TEXT, "attack, minimum_norm, transfer, corruption, shift; clean: all images or those corrupted"),
    Column("name", TEXT, "name of the attack, corruption or test set"),
    Column("level", REAL, "attack, transfer: epsilon in 1/255, 0 is untouched; corruption: severity; otherwise 0"),
    Column("origin", TEXT, "corruption: official (the published files) or generated; otherwise null"),
    Column("accuracy", REAL, "accuracy under this condition, percent; minimum_norm: of the untouched images"),
    *BESIDE_DENSE,
    Column("norm", REAL, "minimum_norm: median over images of the least change that fools, 1/255; otherwise null"),
    *CALIBRATION,
    *SCALED,
    Column("images", INTEGER, "images evaluated"),
    MADE_BY,
)

DETECTION = (
    *IDENTITY,
    Column("outliers", TEXT, "name of the set of images that belong to no class"),
    Column("distance", TEXT, "near or far: how the configuration lists that set"),
    Column("score", TEXT, "what tells them apart, low for outliers: msp (largest softmax), max_logit, energy"),
    Column("auroc", REAL, "area under the ROC curve, 0 to 1; 0.5 is chance"),
    Column("aupr_in", REAL, "area under the precision-recall curve, test images as positives, 0 to 1"),
    Column("aupr_out", REAL, "the same with outliers as positives"),
    Column("fpr95", REAL, "share of test images taken for outliers where 95 % of the outliers are found, 0 to 1"),
    Column("fpr95_in", REAL, "share of outliers taken for test images where 95 % of the test images are kept, 0 to 1"),
    Column("dense_auroc", REAL, "auroc of the dense network of this dataset, network and seed"),
    Column("delta_auroc", REAL, "auroc minus dense_auroc"),
    Column("in_images", INTEGER, "test images"),
    Column("out_images", INTEGER, "outliers"),
    MADE_BY,
)

CURVES = (
    *IDENTITY,
    Column("epoch", INTEGER, "epochs completed, from 1"),
    Column("learning_rate", REAL, "learning rate of the epoch's last step"),
    Column("train_loss", REAL, "mean cross-entropy over the epoch's batches, nats"),
    Column("train_accuracy", REAL, "accuracy over the epoch's batches, percent"),
    Column("test_loss", REAL, "mean cross-entropy on the test set, nats"),
    Column("test_accuracy", REAL, "accuracy on the test set, percent"),
    Column("seconds", REAL, "training time of the epoch, seconds", varies=True),
)

SCORES = (
    *_named("dataset", "network", "seed", "structure", "criterion", "draw", "scored_at"),
    Column("block", TEXT, "name of the residual block"),
    Column("stage", TEXT, "stage of the block"),
    Column("removable", pa.bool_(), "whether the block may go: its shortcut is an identity, and no rule keeps it"),
    Column("raw", REAL, "the criterion's value, null for blocks that can't go"),
    Column("score", REAL, "the value, its sign turned so that low goes first; iterative: the round of removal"),
    Column("rank", INTEGER, "1 goes first; null for blocks that can't go"),
)

SIMILARITY = (
    *IDENTITY,
    Column("layer", TEXT, "name of the residual block whose output is compared, or penultimate"),
    Column("stage", TEXT, "stage of the block; null for penultimate"),
    Column("position", INTEGER, "place of the block in the dense network, from 1; penultimate comes last"),
    Column("cka", REAL, "debiased linear CKA of the trained ticket's and dense network's features, at most 1"),
    Column("images", INTEGER, "test images compared"),
    MADE_BY,
)

SUMMARY = (
    *TICKET,
    Column("seeds", INTEGER, "seeds, the unit of every mean, interval and test: draws of a seed are averaged first"),
    Column("networks", INTEGER, "networks averaged: seeds times draws"),
    Column("accuracy", REAL, "mean test accuracy, percent"),
    Column("accuracy_sd", REAL, "standard deviation of accuracy over seeds, percentage points; null with one seed"),
    Column("delta_accuracy", REAL, "mean paired difference to the dense network, percentage points"),
    Column("delta_sd", REAL, "standard deviation of the paired difference, percentage points; null with one seed"),
    Column("delta_low", REAL, "lower end of the t interval of the mean difference; null with one seed"),
    Column("delta_high", REAL, "upper end of the t interval of the mean difference; null with one seed"),
    Column("boot_low", REAL, "lower end of the BCa bootstrap interval of the mean difference; null with one seed"),
    Column("boot_high", REAL, "upper end of the BCa bootstrap interval of the mean difference; null with one seed"),
    Column("confidence", REAL, "level of both intervals, 0 to 1"),
    Column("xi", TEXT, "tolerance as configured: percentage points, or sd"),
    Column("xi_points", REAL, "tolerance in percentage points; null if it can't be computed"),
    Column("won", INTEGER, "networks that won: accuracy + xi >= dense accuracy"),
    Column("verdict", TEXT, "winning, losing or undecided: the interval against -xi; single seed if there is one"),
    Column("p_value", REAL, "t test of difference > -xi; 0 or 1 by definition if all seeds agree; null with one seed"),
    Column("p_holm", REAL, "p_value after Holm's correction for the tickets of this dataset, network and xi"),
    Column("tickets", INTEGER, "tickets that Holm's correction counts; null with one seed"),
    Column("verdict_holm", TEXT, "verdict by Holm-corrected tests for winning and losing, (1 - confidence) / 2 each"),
    Column("macs_reduction", REAL, "mean MACs saved, percent"),
    Column("params_reduction", REAL, "mean parameters saved, percent"),
    Column("memory_reduction", REAL, "mean training memory saved, percent"),
    Column("train_speedup", REAL, "geometric mean of the training speed-up", varies=True),
    Column("latency_speedup", REAL, "geometric mean of the dense latency divided by the ticket's", varies=True),
    Column("energy_reduction", REAL, "mean energy saved, percent", varies=True),
    Column("attack_delta", REAL, "mean paired accuracy difference over attacks, epsilon above 0, percentage points"),
    Column("corruption_delta", REAL, "the same over corruptions (extra ones only if there are no others), severities"),
    Column("shift_delta", REAL, "the same over the shifted test sets"),
)

SPREAD = (
    Column("sd", REAL, "standard deviation of the difference over seeds; null with one seed"),
    Column("low", REAL, "lower end of the t interval; null with one seed"),
    Column("high", REAL, "upper end of the t interval; null with one seed"),
)
P_VALUE = Column("p_value", REAL, "two-sided paired t test; by definition 1 or 0 if seeds agree; null with one seed")
OUTCOME = Column("outcome", TEXT, "better, worse or can't tell: p_holm against 1 - confidence; or single seed")

COMPARISONS = (
    *TICKET,
    Column("control", TEXT, "random, random_spread, fresh (other initial weights), layers (same criterion)"),
    Column("seeds", INTEGER, "seeds that have both, the unit of the intervals"),
    Column("difference", REAL, "mean paired difference of accuracies, ticket minus control, percentage points"),
    *SPREAD,
    Column("boot_low", REAL, "lower end of the BCa bootstrap interval; null with one seed"),
    Column("boot_high", REAL, "upper end of the BCa bootstrap interval; null with one seed"),
    P_VALUE,
    Column("p_holm", REAL, "p_value after Holm's correction for the comparisons of this dataset, network and control"),
    Column("compared", INTEGER, "comparisons that Holm's correction counts; null with one seed"),
    OUTCOME,
)

RESILIENCE = (
    *TICKET,
    Column("measure", TEXT, "what is compared; docs/robustness.md has the formulas"),
    Column("name", TEXT, "name of the attack, corruption, test set or outliers; null for a mean over all"),
    Column("level", REAL, "epsilon in 1/255, or severity; null where there is none or a mean over all"),
    Column("unit", TEXT, "unit of value, dense, difference, sd, low and high"),
    Column("better", TEXT, "higher or lower: which end of the measure is the better one"),
    Column("seeds", INTEGER, "seeds that have both, the unit of the intervals; draws of a seed are averaged first"),
    Column("value", REAL, "mean of the tickets"),
    Column("dense", REAL, "mean of their dense networks"),
    Column("difference", REAL, "mean paired difference, ticket minus dense"),
    *SPREAD,
    P_VALUE,
    Column("p_holm", REAL, "p_value after Holm's correction for the tickets of this dataset, network and measure"),
    OUTCOME,
)

STABILITY = (
    *_named("dataset", "network", "criterion", "scored_at"),
    Column("blocks", INTEGER, "removable blocks that are ranked"),
    Column("rankings", INTEGER, "rankings compared: seeds times draws; seeds alone where a draw changes nothing"),
    Column("kendall_w", REAL, "Kendall's W corrected for ties, at most 1; null with one ranking or two blocks"),
    Column("p_value", REAL, "Friedman's test of no agreement, draws of a seed taken as independent; null as kendall_w"),
)

PAPER = (
    *_named("dataset", "network"),
    Column("item", TEXT, "what the row is called: the ticket, the block or the claim"),
    *_named("structure", "criterion", "scored_at", "removed", "rewind"),
    Column("quantity", TEXT, "what is compared"),
    Column("unit", TEXT, "unit of all figures of the row"),
    Column("paper", REAL, "the printed figure; null where the paper has none"),
    Column("measured", REAL, "mean over seeds; null where nothing was measured"),
    Column("low", REAL, "lower end of the interval over seeds; null with one seed"),
    Column("high", REAL, "upper end of the interval over seeds; null with one seed"),
    Column("seeds", INTEGER, "seeds measured"),
    Column("margin", REAL, "distance within which measured and printed figure agree"),
    Column("verdict", TEXT, "agrees, disagrees, can't tell at this scale; not measured; no printed figure"),
    Column("random", REAL, "mean of random removal of as many blocks, the control; null where none was trained"),
    Column("against_random", TEXT, "better, worse, can't tell or single seed: the ticket against random removal"),
    Column("scale", TEXT, "the paper's, or what was reduced"),
    Column("note", TEXT, "what a reader must know of this row"),
)

TABLES: dict[str, tuple[Column, ...]] = {
    "runs": RUNS,
    "robustness": ROBUSTNESS,
    "detection": DETECTION,
    "curves": CURVES,
    "scores": SCORES,
    "similarity": SIMILARITY,
    "summary": SUMMARY,
    "comparisons": COMPARISONS,
    "resilience": RESILIENCE,
    "stability": STABILITY,
}
PAPER_TABLES: dict[str, tuple[Column, ...]] = dict.fromkeys(paths.PAPER, PAPER)

ABOUT = {
    "runs": "one row per trained network",
    "robustness": "one row per trained network and condition",
    "detection": "one row per trained network, set of outliers and score",
    "curves": "one row per trained network and epoch",
    "scores": "one row per scored network, criterion and residual block",
    "similarity": "one row per trained ticket and layer",
    "summary": "one row per ticket (over its seeds) and tolerance",
    "comparisons": "one row per ticket (over its seeds) and control",
    "resilience": "one row per ticket (over its seeds) and measure of robustness",
    "stability": "one row per criterion that ranks blocks",
    "table1": "rewinding, table 1 of the paper: one row per ticket",
    "table2": "tickets at initialization, table 2: one row per ticket",
    "table3": "structures at equal budget, table 3: one row per ticket",
    "table4": "what tickets at initialization save, table 4: one row per ticket and quantity",
    "table5": "robustness of the same tickets, table 5: one row per ticket and test set",
    "figure3": "l1 scores of the removable blocks, figure 3: one row per block",
    "claims": "what the paper's text claims: one row per claim and where it can be tested",
}


def columns(table: str) -> tuple[Column, ...]:
    """The columns of a result table or of one of the paper's."""
    return (TABLES | PAPER_TABLES)[table]


def arrow_schema(table: str) -> pa.Schema:
    """The Arrow schema of a result table."""
    return pa.schema([pa.field(column.name, column.type) for column in columns(table)])
