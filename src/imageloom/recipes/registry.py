"""The recipes, by the name that `train.recipe` calls them, each with parameters of its own.

Some fit a head on the features that there are; others train a network, and a head on what it gives.

What heavy libraries they need is imported when they run.
"""

from collections.abc import Callable
from typing import Any, Literal, get_args

from imageloom.recipes import classical, cnn, dense, finetune, probe
from imageloom.recipes.data import Data, Fitted
from imageloom.recipes.workshop import Trained, Workshop

Name = Literal["probe", "head", "classical", "finetune", "cnn"]

# Training and validation pictures, the number of classes, and the recipe's parameters, to what was fitted.
Recipe = Callable[[Data, Data, int, Any], Fitted]

# The same pictures with their files, and where to work, to a network's head; its SavedModel is in `Workshop.target`.
NetworkRecipe = Callable[[Data, Data, int, Any, Workshop], Trained]

RECIPES: dict[str, Recipe] = {"probe": probe.fit, "head": dense.fit, "classical": classical.fit}

NETWORKS: dict[str, NetworkRecipe] = {"finetune": finetune.fit, "cnn": cnn.fit}

assert set(get_args(Name)) == {*RECIPES, *NETWORKS}
