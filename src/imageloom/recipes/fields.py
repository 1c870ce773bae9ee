"""Parameters that more than one recipe has: bounds and what they are for; the defaults are each recipe's own."""

from typing import Annotated

from pydantic import Field

from imageloom.recipes.schedules import Schedule

Epochs = Annotated[int, Field(ge=1, description="times that every training picture is looked at, at most")]
BatchSize = Annotated[int, Field(ge=1, description="pictures of a step")]
RateSchedule = Annotated[
    Schedule, Field(description="how the rate goes: `one_cycle` up and down, `cosine` down, or `constant`")
]
Momentum = Annotated[float, Field(ge=0, lt=1, description="of the steps; one_cycle has its own")]
Dropout = Annotated[float, Field(ge=0, lt=1, description="share of the features left out of a step, by chance")]
LabelSmoothing = Annotated[float, Field(ge=0, lt=1, description="share of each target that is spread over all classes")]
Balanced = Annotated[bool, Field(description="gives each class the same weight, whatever its number of pictures")]
Patience = Annotated[
    int, Field(ge=0, description="epochs without a lower loss on validation after which it ends; 0 never")
]
