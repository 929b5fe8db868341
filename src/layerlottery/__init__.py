"""layerlottery: layer pruning at initialization, as a benchmark and as a method."""

__version__ = "0.1.0"
