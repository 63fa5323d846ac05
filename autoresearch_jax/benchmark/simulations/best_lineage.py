"""The best lineage that a search with full knowledge finds; regret is measured against it.

Coordinate descent over the sites: each site in turn gets the variant (or none) that is best given
the others, then each pair of partners is tried at its two sites, until nothing improves. Memory
couples the sites. The descent therefore ignores the memory limit first, for several prices of
memory, and each of its end points is descended once more within the limit. Deterministic; the best
known solution, not a proven one.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator

import numpy as np

from autoresearch_jax.benchmark.simulations.effects import EDITS, VARIANTS, EditEffects, evaluate
from autoresearch_jax.benchmark.simulations.profiles import Profile
from autoresearch_jax.types import Status

PRICES = (0.0, 0.01, 0.03, 0.1)  # of the logarithm of memory, in units of baseline - floor
MAX_SWEEPS = 8

Choice = dict[int, int]  # site -> edit
Cost = Callable[[Choice], float]


def best_edits(profile: Profile, effects: EditEffects) -> list[int]:
  """Returns the edits of the best known lineage, in ascending order."""
  moves = list(_moves(effects))
  cost = _cost(profile, effects, 0.0)
  unlimited = dataclasses.replace(profile, memory=0.0)
  found = [_descend({}, moves, cost)]
  for price in PRICES:
    ended = _descend({}, moves, _cost(unlimited, effects, price))
    found.append(_descend(_within_memory(ended, profile, effects), moves, cost))
  return sorted(min(found, key=cost).values())


def _moves(effects: EditEffects) -> Iterator[Choice]:
  """Yields what may be put at which sites: an edit, a pair, or nothing (-1).

  Only edits that improve the metric or save memory.
  """
  for site in range(EDITS // VARIANTS):
    yield {site: -1}
  worth = ((effects.gain > 0) | (effects.memory < 0)) & (effects.failure < 0)
  for edit in np.flatnonzero(worth & (effects.partner < 0)).tolist():
    yield {edit // VARIANTS: edit}
  for edit, partner in enumerate(effects.partner.tolist()):
    if edit < partner:
      yield {edit // VARIANTS: edit, partner // VARIANTS: partner}


def _cost(profile: Profile, effects: EditEffects, price: float) -> Cost:
  scale = profile.baseline - profile.floor

  def cost(choice: Choice) -> float:
    edits = list(choice.values())
    outcome = evaluate(profile, effects, edits, 0.0)
    if outcome.status is not Status.OK:
      return math.inf
    return outcome.value / scale + price * float(effects.memory[edits].sum() if edits else 0.0)

  return cost


def _descend(choice: Choice, moves: list[Choice], cost: Cost) -> Choice:
  lowest = cost(choice)
  for _ in range(MAX_SWEEPS):
    before = lowest
    for move in moves:
      new = {site: edit for site, edit in {**choice, **move}.items() if edit >= 0}
      if new != choice and (value := cost(new)) < lowest:
        choice, lowest = new, value
    if lowest == before:
      break
  return choice


def _within_memory(choice: Choice, profile: Profile, effects: EditEffects) -> Choice:
  """Drops the edits with the most memory per gain until the rest fits into the device's memory."""
  limit = -math.log(profile.memory)
  memory, kept = effects.memory, dict(choice)
  while sum(memory[edit] for edit in kept.values()) > limit:
    del kept[max(kept, key=lambda site: memory[kept[site]] / (effects.gain[kept[site]] + 1e-9))]
  return kept
