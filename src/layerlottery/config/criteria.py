"""Settings of the criteria, and the built-in ones by name."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, get_args

from pydantic import Field, WithJsonSchema

from layerlottery.config.base import Count, Name, Positive
from layerlottery.config.extensible import FUNCTION, Extensible

Structure = Literal["layers", "filters", "weights"]
Share = Literal["parameters", "macs", "memory"]
Function = Literal[
    "random",
    "random_spread",
    "l1",
    "snip",
    "grasp",
    "synflow",
    "hrank",
    "expectabs",
    "pls",
    "kl",
    "cka",
    "consensus",
    "complexity",
]
# editors offer the built-in ones; a union would speak of each of its members in messages
Named = Annotated[
    str, WithJsonSchema({"anyOf": [{"enum": list(get_args(Function)), "type": "string"}, {"type": "string"}]})
]
LAYERS_ONLY = frozenset({"random_spread", "hrank", "expectabs", "pls", "kl", "cka", "consensus"})
FILTERS_ONLY = frozenset({"complexity"})
# what these compute needs no training image
DATA_FREE = frozenset({"random", "random_spread", "l1", "synflow", "complexity"})


class CriterionSettings(Extensible):
    """How a criterion turns a network into one score per removable block, filter or weight."""

    group: ClassVar[str] = "layerlottery.criteria"
    builtin: ClassVar[frozenset[str]] = frozenset(get_args(Function))

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
    temperature: Positive = Field(1.0, description="logits are divided by this before the loss (GraSP: 200)")
    iterative: bool = Field(False, description="remove one block at a time and score the smaller network again")
    components: Count = Field(2, description="PLS: latent components of the fit")
    share: Share = Field("parameters", description="complexity: the share of a layer that is its weight in the draw")
    budget: Name | None = Field(
        None, description="filters, weights: criterion whose layer ticket sets the budget; null takes this one"
    )

    def fits(self, structure: str) -> bool:
        """Whether the formula scores this kind of structure."""
        if structure == "layers":
            return self.function not in FILTERS_ONLY
        if self.is_own or self.function in LAYERS_ONLY:
            return False
        return structure == "filters" or self.function not in FILTERS_ONLY


def _complexity(share: Share) -> CriterionSettings:
    # the formula has no layer ticket of its own
    return CriterionSettings(function="complexity", share=share, budget="snip")


CRITERIA: dict[str, CriterionSettings] = {
    "random": CriterionSettings(function="random"),
    "random_spread": CriterionSettings(function="random_spread"),
    "l1": CriterionSettings(function="l1"),
    "magnitude": CriterionSettings(function="l1"),
    "snip": CriterionSettings(function="snip"),
    "grasp": CriterionSettings(function="grasp", products="signed", keep="low", temperature=200.0),
    "snip_signed": CriterionSettings(function="snip", products="signed"),
    "synflow": CriterionSettings(function="synflow", batchnorm="eval"),
    "hrank": CriterionSettings(function="hrank", batchnorm="eval"),
    "expectabs": CriterionSettings(function="expectabs", batchnorm="eval"),
    "pls": CriterionSettings(function="pls", batchnorm="eval"),
    "kl": CriterionSettings(function="kl", batchnorm="eval"),
    "cka": CriterionSettings(function="cka", batchnorm="eval"),
    "cka_iterative": CriterionSettings(function="cka", batchnorm="eval", iterative=True),
    "consensus": CriterionSettings(function="consensus", batchnorm="eval"),
    "complexity_parameters": _complexity("parameters"),
    "complexity_macs": _complexity("macs"),
    "complexity_memory": _complexity("memory"),
}
