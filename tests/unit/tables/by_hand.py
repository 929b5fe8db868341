"""How the results folder made by hand is aggregated."""

from tests.unit.results_folder import TICKETS

from layerlottery.config.studies import AggregateSettings

TICKET = TICKETS[0]

STUDY = {
    "name": "by_hand",
    "datasets": ["digits"],
    "networks": ["resnet20"],
    "seeds": [0, 1],
    "criteria": ["l1", "random"],
    "removed": [1],
}
STUDIES = [STUDY, STUDY | {"name": "filters", "structures": ["filters"], "criteria": ["l1"]}]
COUNTS = {
    "runs": 8,
    "robustness": 96,
    "answers": 0,  # as of earlier versions
    "detection": 16,
    "curves": 16,
    "scores": 16,
    "similarity": 12,
    "agreement": 0,
    "summary": 9,
    "comparisons": 2,
    "resilience": 3 * (1 + 7 + 2 + 4 + 18 + 4),  # of tickets: clean, corruptions, shift, attacks, calibration, outliers
    "stability": 2,
}


def settings(**changes):
    given = {"studies": STUDIES, "energy": {"carbon_intensity": 0.5, "lacoste_intensity": 0.4}}
    return AggregateSettings.model_validate(given | {"statistics": {"xi": [0.0, 1.0, "sd"]}} | changes)
