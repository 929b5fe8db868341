"""Settings of the criteria, and the built-in ones by name."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import Field, WithJsonSchema, model_validator

from layerlottery.config.base import MOST, Count, Name, Settings, later
from layerlottery.config.choices import Scored
from layerlottery.config.declared import declared
from layerlottery.config.extensible import FUNCTION, Extensible

# structures whose scores, or whose budget, are another's
SCORED_AS: dict[str, Scored] = {
    "filters_at_macs": "filters",
    "filters_by_share": "filters",
    "dense_at_cost": "layers",
    "dense_tuned": "layers",
}
Depth = Annotated[int, Field(ge=0, le=1000)]
Share = Literal["parameters", "macs", "memory"]
Needs = Literal["nothing", "weights", "gradient", "forward"]
Select = Literal["lowest", "one_by_one", "span", "deepest"]


class Formula(Settings):
    """The declaration `@criterion(…)` of a built-in criterion's function."""

    names: dict[str, dict[str, Any]] = Field(description="built-in criteria, and their settings that are no defaults")
    needs: Needs = Field(description="of the network: nothing, as for a random draw, its weights, or passes through it")
    scores: tuple[Scored, ...] = Field(("layers",), description="what it gives scores to")
    data_free: bool = Field(False, description="whether it looks at no training image")
    images: int = Field(0, ge=0, le=MOST, description="images that it makes itself, for each draw where it is sampled")
    sampled: bool = Field(False, description="whether it takes the mean over `samples` draws")
    labels: bool = Field(False, description="whether it looks at the images' labels")
    spans: bool = Field(False, description="whether it also gives a value to several successive blocks together")


def _formulas() -> dict[str, Formula]:
    found = {name: Formula(**given) for name, given in declared("criteria", "criterion").items()}
    needs = get_args(Needs)
    return dict(sorted(found.items(), key=lambda one: ("layers" not in one[1].scores, needs.index(one[1].needs))))


FORMULAS = _formulas()
OWN = Formula(names={}, needs="gradient", labels=True)
# it takes given numbers of blocks from the stages
DEPTHS = "depths"
# functions that draw blocks at random
DRAWN = tuple(
    name for name, one in FORMULAS.items() if one.needs == "nothing" and "layers" in one.scores and name != DEPTHS
)
# it selects blocks by their place, whatever a criterion gives them
DEEPEST = "deepest"
# editors offer the built-in ones; a union would speak of each of its members in messages
Named = Annotated[str, WithJsonSchema({"anyOf": [{"enum": list(FORMULAS), "type": "string"}, {"type": "string"}]})]


class CriterionSettings(Extensible):
    """How a criterion turns a network into one score per removable block, filter or weight."""

    group: ClassVar[str] = "layerlottery.criteria"
    builtin: ClassVar[frozenset[str]] = frozenset(FORMULAS)

    function: Named = Field(description=f"which formula; or one {FUNCTION}")
    keep: Literal["high", "low"] = Field("high", description="the end of the score that survives")
    products: Literal["absolute", "signed"] = Field(
        "absolute", description="each weight's product: its size, or signed"
    )
    batchnorm: Literal["train", "eval"] = Field(
        "train", description="BatchNorm statistics while scoring: batch, running"
    )
    reduction: Literal["sum", "mean"] = Field("sum", description="over a block's parameters")
    parameters: Literal["convolutions", "all"] = Field("convolutions", description="parameters that are scored")
    images_per_class: Count = Field(10, description="training images of each class in the scoring batch")
    batch_size: Count | None = Field(
        None, description="layers: images that go through the network together; null: all, as batch statistics are best"
    )
    temperature: float = Field(
        1.0, ge=1e-6, le=1e6, description="logits are divided by this before the loss (GraSP: 200)"
    )
    select: Select = Field(
        "lowest",
        description="which blocks go. lowest: those with the lowest scores; one_by_one: the lowest, and again of the "
        "smaller network scored anew; span: the successive blocks whose score together is lowest; deepest: the last "
        "ones, whatever their scores",
    )
    components: int = Field(2, ge=1, le=1000, description="PLS: latent components of the fit")
    remove: list[Annotated[int, Field(ge=0, le=1000)]] = later(
        [], "depths: blocks to take from each stage, in network order"
    )
    published: bool = later(
        False, "GraSP: as its source's code scores, other weights of linear layers and half-batches"
    )
    divergence: Literal["from_pruned", "from_full"] = later(
        "from_pruned", "KL: of the output without the block from that of the full network, or the other way"
    )
    samples: int = later(
        10, "draws that an estimate is the mean of: probes (hutchinson_taylor), weights (ntk_sap)", ge=1, le=100_000
    )
    share: Share = Field("parameters", description="complexity: the share of a layer that is its weight in the draw")
    budget: Name | None = Field(
        None, description="filters, weights: criterion whose layer ticket sets the budget; null takes this one"
    )

    @model_validator(mode="before")
    @classmethod
    def _refuse_old_key(cls, values: Any) -> Any:
        if isinstance(values, dict) and "iterative" in values:
            raise ValueError(
                f"iterative: now called select; allowed: {', '.join(get_args(Select))} (true was one_by_one)"
            )
        return values

    @model_validator(mode="after")
    def _selects_what_it_scores(self) -> Self:
        if self.select == "span" and not self.formula.spans:
            able = ", ".join(name for name, formula in FORMULAS.items() if formula.spans)
            raise ValueError(
                f"select: found span; {self.function} gives successive blocks no score together; allowed: "
                f"lowest, one_by_one, deepest, or span with the function {able}"
            )
        return self

    @property
    def formula(self) -> Formula:
        """The function's declaration; one of the user's own may look at everything and scores blocks."""
        return OWN if self.is_own else FORMULAS[self.function]

    @property
    def sign(self) -> int:
        """The factor that turns values into scores, of which the lowest goes: -1 where low values survive."""
        return 1 if self.keep == "high" else -1

    def unfit(self, structure: str) -> str | None:
        """The setting that does not go with this kind of structure, what was found, and what is allowed."""
        if SCORED_AS.get(structure, structure) == "layers":
            return None
        if self.parameters == "all":
            return f"parameters: found all; {structure} are scored by convolutions alone"
        if self.batch_size is not None:
            return f"batch_size: found {self.batch_size}; {structure} are scored in one batch: null"
        if self.select != "lowest":
            return f"select: found {self.select}; {structure} are selected by the lowest scores: lowest"
        return None

    def fits(self, structure: str) -> bool:
        """Whether the formula scores this kind of structure."""
        return SCORED_AS.get(structure, structure) in self.formula.scores


CRITERIA: dict[str, CriterionSettings] = {
    name: CriterionSettings(function=function, **changes)
    for function, formula in FORMULAS.items()
    for name, changes in formula.names.items()
}
