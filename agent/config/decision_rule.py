"""How rewards become a choice, and when types are claimed at all: what a person may set."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from agent.config.base import in_order


class RuleSettings(BaseModel):
    """How rewards become a choice, and when types are claimed at all.

    Parameters
    ----------
    criteria
        Metrics that are combined, each with its weight; none takes the reward's own value. "value" is that of the reward. A name
        that is not known says by "-" in front that less is better.
    combine
        "rank_sum": the weighted mean of the ranks among all candidates; "weighted_sum": of the standardised metrics; "pareto":
        the layer of the Pareto front, and within a layer the rank sum.
    tie_sigmas
        Configurations within so many standard errors of the best tie with it.
    pick
        Of those that tie, the most parsimonious one; or the best mean whatever its noise.
    least_information
        Symmetric spatial information, in nats, below which a configuration's clusters are not called types; 0 does not ask.
    groups
        Whether types must be groups, which means that ICL prefers several Gaussians to one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    criteria: Annotated[dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]], AfterValidator(in_order)] = {}
    combine: Literal["rank_sum", "weighted_sum", "pareto"] = "rank_sum"
    tie_sigmas: float = Field(default=2.0, ge=0)
    pick: Literal["parsimonious", "best"] = "parsimonious"
    least_information: float = Field(default=0.125, ge=0)
    groups: bool = True


DEFAULT_RULE = RuleSettings()
