"""Chooses which model to ask: Thompson sampling over the outcomes of each model's edits.

Each model is an arm with a Beta(1, 1) prior on the fraction of its edits that win. One value is
drawn from each posterior, and the largest is taken (Thompson, 1933; Chapelle and Li, 2011,
https://papers.nips.cc/paper/4321-an-empirical-evaluation-of-thompson-sampling). This is a pure
function of the history; nothing is stored.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from autoresearch_jax.proposers.base import ProposalContext

# How much the cost counts: at 0.25, a model that costs 16 times as much must win twice as often.
# Less than proportionally, since the trial itself costs more than the call.
COST_EXPONENT = 0.25


@dataclasses.dataclass(frozen=True)
class Arm:
  """Outcomes of one model's edits.

  Attributes:
    wins: Edits that were kept or beat their parent.
    losses: Edits that did not.
  """

  wins: int = 0
  losses: int = 0


def choose(
  models: Sequence[str],
  context: ProposalContext,
  rng: np.random.Generator,
  costs: Mapping[str, float] | None = None,
) -> str:
  """Returns one of the models.

  Args:
    models: Names of the models.
    context: Where the outcomes are read.
    rng: Source of randomness.
    costs: Cost of one call by model, in any unit. Ignored unless all are known.
  """
  known = arms(models, context)
  drawn = {m: rng.beta(1 + arm.wins, 1 + arm.losses) for m, arm in known.items()}
  if costs and all(costs.get(model, 0.0) > 0 for model in models):
    drawn = {model: value / costs[model] ** COST_EXPONENT for model, value in drawn.items()}
  return max(models, key=drawn.__getitem__)


def arms(models: Sequence[str], context: ProposalContext) -> dict[str, Arm]:
  """Returns wins and losses of each model over all of its edits so far."""
  wins, losses = context.outcomes().tally(lambda edit: edit.author)
  return {model: Arm(wins[model], losses[model]) for model in models}
