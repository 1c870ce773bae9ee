"""The recipes, by the name that `train.recipe` calls them: each fits a head on features, by parameters of its own.

What heavy libraries they need is imported when they run.
"""

from collections.abc import Callable
from typing import Any, Literal, get_args

from imageloom.recipes import dense, probe
from imageloom.recipes.data import Data, Fitted

Name = Literal["probe", "head"]

# Training and validation pictures, the number of classes, and the recipe's parameters, to what was fitted.
Recipe = Callable[[Data, Data, int, Any], Fitted]

RECIPES: dict[str, Recipe] = {"probe": probe.fit, "head": dense.fit}

assert set(get_args(Name)) == set(RECIPES)
