"""Which model to ask: Thompson sampling over what came of the edits each has written.

Each model is an arm with a Beta(1, 1) prior on the share of its edits that win; one value is drawn
from each posterior and the largest is taken (Thompson, 1933; Chapelle and Li, 2011,
https://papers.nips.cc/paper/4321-an-empirical-evaluation-of-thompson-sampling). A pure function of
the history: nothing is remembered here.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from autoresearch_jax.proposers.base import ProposalContext

# How much cheapness counts: at 0.25, a model that costs sixteen times as much must win twice as
# often. Less than in proportion, for the trial itself costs more than the call.
THRIFT = 0.25


@dataclasses.dataclass(frozen=True)
class Arm:
  """What is known of one model's edits."""

  wins: int = 0
  losses: int = 0


def choose(
  models: Sequence[str],
  context: ProposalContext,
  rng: np.random.Generator,
  costs: Mapping[str, float] | None = None,
) -> str:
  """One of `models`. costs: of a call, in any one unit; without all of them, none counts."""
  known = arms(models, context)
  drawn = {m: rng.beta(1 + arm.wins, 1 + arm.losses) for m, arm in known.items()}
  if costs and all(costs.get(model, 0.0) > 0 for model in models):
    drawn = {model: value / costs[model] ** THRIFT for model, value in drawn.items()}
  return max(models, key=drawn.__getitem__)


def arms(models: Sequence[str], context: ProposalContext) -> dict[str, Arm]:
  """Wins and losses of each model, over the programs that its edits made so far."""
  wins, losses = context.outcomes().tally(lambda edit: edit.author)
  return {model: Arm(wins[model], losses[model]) for model in models}
