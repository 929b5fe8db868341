"""What command lines name of the settings without reading any: importing the models takes longer than `--help`."""

from __future__ import annotations

from typing import Literal

Structure = Literal[
    "layers", "filters", "weights", "filters_at_macs", "filters_by_share", "dense_at_cost", "dense_tuned"
]
Scored = Literal["layers", "filters", "weights"]

# the settings of live curves as JSON, for `layerlottery train`
LOGGING = "LAYERLOTTERY_LOGGING"
# for `layerlottery train` and the profiles; a job gets it as it gets its live curves (live.py), and is not run again
GPUS = "LAYERLOTTERY_GPUS_PER_TRAINING"
MOST_GPUS = 64
