"""Revisions of the stages, raised by hand when a stage's code changes its results.

They stand together, and apart from the stages' own modules, because the Snakefile reads them as rule
parameters and must not import torch. Raising one reruns that stage and all that depends on it.
"""

REVISIONS = {
    "prepare": 2,
    "corrupt": 2,
    "initialize": 2,
    "score": 3,
    "prune": 3,
    "train": 2,
    "rewind": 2,
    "attack": 2,
    "shift": 2,
    "profile": 3,
    "compare": 2,
    "aggregate": 3,
    "tabulate": 2,
    "manifest": 1,
    "report": 3,
}
