"""How rewards decide between configurations, and when types are claimed: [rule]."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from agent.config.base import in_order


class RuleSettings(BaseModel):
    """How rewards decide between configurations, and when clusters are called types.

    Parameters
    ----------
    criteria
        Metrics to combine in place of the reward's value, each with its weight; empty: the reward's value alone. "value" stands
        for the value of the reward. A "-" before the name of a user-defined metric says that smaller is better.
    combine
        How criteria are combined. "rank_sum": weighted mean of the ranks among all candidates; "weighted_sum": weighted mean of
        the standardised metrics; "pareto": layer of the Pareto front, and rank sum within a layer.
    tie_sigmas
        Largest distance from the best configuration, in standard errors, at which a configuration ties with it.
    pick
        Configuration chosen from the tie set: the most parsimonious, or the one with the largest mean reward.
    least_information
        Smallest symmetric spatial mutual information, in nats, at which clusters are called types; 0 switches this test off.
    groups
        Whether types must be separate groups, that is, whether ICL must prefer several Gaussians to one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    criteria: Annotated[dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]], AfterValidator(in_order)] = {}
    combine: Literal["rank_sum", "weighted_sum", "pareto"] = "rank_sum"
    tie_sigmas: float = Field(default=2.0, ge=0)
    pick: Literal["parsimonious", "best"] = "parsimonious"
    least_information: float = Field(default=0.125, ge=0)
    groups: bool = True


DEFAULT_RULE = RuleSettings()
