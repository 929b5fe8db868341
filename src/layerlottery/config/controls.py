"""The controls that a study asks for, as studies of their own: what a ticket must be set against to mean anything.

A control is a grid like any other, so that paths, tables and plans need to know nothing of it. Controls have no
controls themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from itertools import chain, count, product
from typing import Any

from layerlottery.config.criteria import DEEPEST, DEPTHS, DRAWN, CriterionSettings
from layerlottery.config.networks import STAGE_COUNT, Network, NetworkSettings, StagedSettings
from layerlottery.config.recipes import TRAINED
from layerlottery.config.studies import CONTROLS, FRESH, IN_ROUNDS, TUNED_ON, Study

Criteria = dict[str, CriterionSettings]


def with_controls(
    studies: Sequence[Study], network: Callable[[str], Network], criterion: Callable[[str], CriterionSettings]
) -> tuple[list[Study], Criteria]:
    """The studies, each followed by its controls, and the criteria that these bring along.

    `network` and `criterion` give settings by name. Raises ValueError, which names the key, where a control that a
    study names can't be had.
    """
    found: list[Study] = []
    brought: Criteria = {}
    taken = {study.name for study in studies}
    for study in studies:
        found.append(study.model_copy(update={"controls": []}))
        for control in _wanted(study):
            for changes, criteria in _grids(study, control, network, criterion):
                given = {one: getattr(study, one) for one in ("datasets", "networks", "seeds", "removed", "rounds")}
                given["name"] = _free(f"{study.name[:30]}.{control}", taken)
                taken.add(given["name"])
                found.append(Study.model_validate(given | changes))
                brought |= criteria
    return found, brought


def _free(name: str, taken: Container[str]) -> str:
    """The name, or with the first number behind it that no study has."""
    numbered = (f"{name}.{number}" for number in count(1))
    return next(one for one in chain([name], numbered) if one not in taken)


def _wanted(study: Study) -> list[str]:
    if study.controls and "layers" not in study.structures:
        raise ValueError(f"studies.{study.name}.controls: found structures without layers; allowed: controls of layers")
    every = IN_ROUNDS if study.rounds else CONTROLS
    wanted = [*every] if "all" in study.controls else [*study.controls]
    if study.depths and "architecture" not in wanted:
        raise ValueError(
            f"studies.{study.name}.depths: found {study.depths[0]}; allowed: with controls: [architecture]"
        )
    if unasked := [one for one in study.depths if sum(one) not in study.removed]:
        raise ValueError(
            f"studies.{study.name}.depths: found {unasked[0]}, {sum(unasked[0])} blocks; "
            f"allowed: as many as removed says, {', '.join(map(str, study.removed)) or 'none'}"
        )
    return wanted


def _grids(
    study: Study, control: str, network: Callable[[str], Network], criterion: Callable[[str], CriterionSettings]
) -> Iterator[tuple[dict[str, Any], Criteria]]:
    """Fields of each study that makes a control, where they differ from the study's own; and its criteria."""
    key, named = f"studies.{study.name}.controls: found {control}", "all" not in study.controls
    chosen = [name for name in study.criteria if chooses(criterion(name))]
    scored = {"criteria": chosen, "scored_at": study.scored_at, "draws": study.draws}
    # filters can go from CIFAR ResNets with projections alone, and not every criterion scores them
    found = {name: network(name) for name in study.networks}
    cifar = [name for name, one in found.items() if isinstance(one, NetworkSettings) and one.can_lose_filters]
    fitting = [name for name in chosen if criterion(name).fits("filters") and not criterion(name).unfit("filters")]
    if named and control == "filters_at_macs" and not (cifar and fitting):
        raise ValueError(
            f"{key}; allowed: for CIFAR ResNets with shortcut B, by criteria that score filters, such as snip"
        )
    if named and control == TUNED_ON and TRAINED not in study.rewinds:
        raise ValueError(f"{key}; allowed: with rewinds: [{TRAINED}], whose tickets are fine-tuned")
    starts = {"rewinds": study.rewinds} | ({"scored_at": study.scored_at} if study.rounds else {})
    plain: dict[str, dict[str, Any]] = {
        # what is drawn at random looks at no weights
        **{one: {"criteria": [one], "draws": study.control_draws} | starts for one in DRAWN},
        "fresh": scored | {"rewinds": [FRESH]},
        "dense_at_cost": scored | {"structures": [control]},
        TUNED_ON: scored | {"structures": [control], "rewinds": [TRAINED]},
        "filters_at_macs": scored | {"criteria": fitting, "networks": cifar, "structures": [control]} | starts,
    }
    if not chosen or not study.sizes or (control == TUNED_ON and TRAINED not in study.rewinds):
        return
    if control == "architecture":
        for name, removed in product(study.networks, study.removed):
            yield from _architectures(study, network(name), name, removed, named=named, key=key)
    elif control != "filters_at_macs" or (cifar and fitting):
        yield plain[control], {}


def chooses(criterion: CriterionSettings) -> bool:
    """Whether it looks at the network: not where blocks are drawn at random, the deepest, or of given depths."""
    return criterion.function not in (*DRAWN, DEPTHS) and criterion.select != DEEPEST


def _architectures(
    study: Study, settings: Network, network: str, removed: int, *, named: bool, key: str
) -> Iterator[tuple[dict[str, Any], Criteria]]:
    """All ways to take so many blocks from the stages, or those that the study lists, as criteria."""
    if not isinstance(settings, StagedSettings):
        if named:
            raise ValueError(f"{key}, and the stages of {network} are not known before a run; allowed: resnet20, …")
        return
    each = max(0, settings.blocks_per_stage - settings.minimum)
    listed = [tuple(one) for one in study.depths if sum(one) == removed]
    if wrong := [one for one in listed if len(one) != STAGE_COUNT or max(one) > each]:
        allowed = f"{STAGE_COUNT} numbers of blocks to remove, each 0 to {each}"
        raise ValueError(f"studies.{study.name}.depths: found {list(wrong[0])}; allowed for {network}: {allowed}")
    vectors = (
        listed if study.depths else [one for one in product(range(each + 1), repeat=STAGE_COUNT) if sum(one) == removed]
    )
    criteria = {
        "_".join(map(str, (DEPTHS, *one))): CriterionSettings(function=DEPTHS, remove=list(one)) for one in vectors
    }
    if criteria:
        grid = {"networks": [network], "criteria": list(criteria), "removed": [removed], "rewinds": [FRESH]}
        yield grid, criteria
