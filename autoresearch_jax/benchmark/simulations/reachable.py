"""The best lineage that a search finds that sees all effects: what regret is measured against.

Coordinate descent over sites: each site in turn gets the variant, or none, that is best with the
others as they are; then each pair is tried in its two sites; until nothing changes. Memory couples
the sites, so the descent is done without its limit for several prices of memory, and from where
each ends once more within the limit. Deterministic; the best that is known, not a proof.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator

import numpy as np

from autoresearch_jax.benchmark.simulations.effects import EDITS, VARIANTS, Effects, evaluation
from autoresearch_jax.benchmark.simulations.profiles import Profile
from autoresearch_jax.types import Status

PRICES = (0.0, 0.01, 0.03, 0.1)  # of the logarithm of memory, in units of baseline - floor
SWEEPS = 8

Cost = Callable[[dict[int, int]], float]  # of a choice: site -> edit


def best_edits(profile: Profile, effects: Effects) -> list[int]:
  """The edits, ascending."""
  moves = list(_moves(effects))
  within = _cost(profile, effects, 0.0)
  boundless = dataclasses.replace(profile, memory=0.0)
  found = [_descent({}, moves, within)]
  for price in PRICES:
    ended = _descent({}, moves, _cost(boundless, effects, price))
    found.append(_descent(_fitting(ended, profile, effects), moves, within))
  return sorted(min(found, key=within).values())


def _moves(effects: Effects) -> Iterator[dict[int, int]]:
  """What to put in which sites: an edit that helps or saves memory, or a pair, or nothing (-1)."""
  for site in range(EDITS // VARIANTS):
    yield {site: -1}
  worth = ((effects.help > 0) | (effects.memory < 0)) & (effects.ending < 0)
  for edit in np.flatnonzero(worth & (effects.partner < 0)).tolist():
    yield {edit // VARIANTS: edit}
  for edit, partner in enumerate(effects.partner.tolist()):
    if edit < partner:
      yield {edit // VARIANTS: edit, partner // VARIANTS: partner}


def _cost(profile: Profile, effects: Effects, price: float) -> Cost:
  scale = profile.baseline - profile.floor

  def cost(choice: dict[int, int]) -> float:
    edits = list(choice.values())
    made = evaluation(profile, effects, edits, 0.0)
    if made.status is not Status.OK:
      return math.inf
    return made.value / scale + price * float(effects.memory[edits].sum() if edits else 0.0)

  return cost


def _descent(choice: dict[int, int], moves: list[dict[int, int]], cost: Cost) -> dict[int, int]:
  lowest = cost(choice)
  for _ in range(SWEEPS):
    before = lowest
    for move in moves:
      new = {site: edit for site, edit in {**choice, **move}.items() if edit >= 0}
      if new != choice and (value := cost(new)) < lowest:
        choice, lowest = new, value
    if lowest == before:
      break
  return choice


def _fitting(choice: dict[int, int], profile: Profile, effects: Effects) -> dict[int, int]:
  """Without the edits that take most memory for what they help, until the rest fits."""
  room = -math.log(profile.memory)
  memory, kept = effects.memory, dict(choice)
  while sum(memory[edit] for edit in kept.values()) > room:
    del kept[max(kept, key=lambda site: memory[kept[site]] / (effects.help[kept[site]] + 1e-9))]
  return kept
