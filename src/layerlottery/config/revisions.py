"""Revisions of the stages, raised by hand when a stage's code changes its results.

They stand together, and apart from the stages' own modules, because the Snakefile reads them as rule
parameters and must not import torch. Raising one reruns that stage and all that depends on it.
"""

REVISIONS = {
    "prepare": 3,
    "corrupt": 3,
    "outliers": 1,
    "initialize": 2,
    "score": 4,
    "prune": 3,
    "train": 3,
    "rewind": 3,
    "attack": 3,
    "shift": 3,
    "profile": 3,
    "compare": 3,
    "aggregate": 4,
    "tabulate": 3,
    "manifest": 1,
    "report": 4,
}
