"""What the edits of a lineage do: drawn from a profile, and added up for a program.

Each area has a quarter of the distance from baseline to floor. Inside it what helps has
diminishing returns, while harm adds up; with both in units of that distance:

    metric = floor + (baseline - floor)/4 · Σ over areas (exp(-4 Σ help) + 4 Σ harm)
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from autoresearch_jax.benchmark.simulations.measuring import Evaluation
from autoresearch_jax.benchmark.simulations.profiles import Profile
from autoresearch_jax.types import Status

AREAS = ('optimizer', 'model', 'attention', 'schedule')
SITES = 16  # of an area
VARIANTS = 10  # of a site
EDITS = len(AREAS) * SITES * VARIANTS
DEVICE_BYTES = 80 * 2**30
# How an edit that never runs ends, and the share of the training time that it takes until then.
ENDINGS = (
  (Status.INVALID, 'does not trace', 0.0),
  (Status.INVALID, 'breaks the contract of a program', 0.0),
  (Status.DIVERGED, 'makes the loss NaN', 0.3),
  (Status.TIMEOUT, 'makes a step take too long', 1.0),
)
_AREA = np.arange(EDITS) // (SITES * VARIANTS)


@dataclasses.dataclass(frozen=True, eq=False)
class Effects:
  """What each edit does, arrays [EDITS]. help, harm: in units of baseline - floor.

  partner: the other of a pair, -1 without one; with the partner such an edit helps, without it
  harms. ending: index in ENDINGS, -1 for edits that run. memory: added to the logarithm of the
  memory. conflicts: bool [EDITS, EDITS], symmetric.
  """

  help: np.ndarray
  harm: np.ndarray
  partner: np.ndarray
  ending: np.ndarray
  memory: np.ndarray
  conflicts: np.ndarray


def drawn(profile: Profile, seed: int) -> Effects:
  """The effects of one instance."""
  rng = np.random.default_rng((seed, 5))
  kind = rng.random(EDITS)
  sizes = [
    median * np.exp(spread * rng.standard_normal(EDITS))
    for median, spread in (
      (profile.helpful_median, profile.helpful_spread),
      (profile.harmful_median, profile.harmful_spread),
    )
  ]
  partner = _pairs(profile.pairs, rng)
  paired = partner >= 0
  helps = (kind < profile.helpful) | paired
  harms = ((kind >= profile.helpful) & (kind < profile.helpful + profile.harmful)) | paired
  broken = (rng.random(EDITS) < profile.broken) & ~paired
  moves = (rng.random(EDITS) < 1 / 3) * profile.memory_spread
  conflicts = np.triu(rng.random((EDITS, EDITS)) < profile.conflict, 1)
  return Effects(
    help=np.where(helps, sizes[0], 0.0),
    harm=np.where(harms, sizes[1], 0.0),
    partner=partner,
    ending=np.where(broken, rng.integers(len(ENDINGS), size=EDITS), -1),
    memory=moves * rng.standard_normal(EDITS),
    conflicts=conflicts | conflicts.T,
  )


def _pairs(share: float, rng: np.random.Generator) -> np.ndarray:
  """Partner of each edit or -1; partners are in different sites."""
  partner = np.full(EDITS, -1)
  chosen = rng.permutation(EDITS)[: 2 * round(share * EDITS / 2)]
  for one, other in chosen.reshape(-1, 2):
    if one // VARIANTS != other // VARIANTS:
      partner[one], partner[other] = other, one
  return partner


def evaluation(
  profile: Profile, effects: Effects, edits: Sequence[int], noise: float
) -> Evaluation:
  """What a program with these edits is worth. noise: times the profile's deviation."""
  ids = np.array(edits, np.intp)
  memory = profile.memory * float(np.exp(effects.memory[ids].sum()))
  if failure := _failure(profile, effects, ids, memory):
    return failure
  harm, by_area = effects.harm[ids], _AREA[ids]
  help, harm = balance(effects, ids)
  gain = np.exp(-4 * np.bincount(by_area, help, len(AREAS)))
  loss = 4 * np.bincount(by_area, harm, len(AREAS))
  quarter = (profile.baseline - profile.floor) / len(AREAS)
  parts = tuple((profile.floor / len(AREAS) + quarter * (gain + loss)).tolist())
  return Evaluation(
    sum(parts),
    parts,
    noise * profile.noise,
    profile.training_seconds,
    profile.other_seconds,
    round(memory * DEVICE_BYTES),
  )


def balance(effects: Effects, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Help and harm of each edit in this company; a pair helps together and harms apart."""
  present = np.zeros(EDITS, bool)
  present[ids] = True
  partner = effects.partner[ids]
  lone = partner < 0
  together = ~lone & present[partner]
  help = np.where(lone | together, effects.help[ids], 0.0)
  return help, np.where(together, 0.0, effects.harm[ids])


def _failure(
  profile: Profile, effects: Effects, ids: np.ndarray, memory: float
) -> Evaluation | None:
  """How the program fails, if it does: it does not run, or it does not fit."""
  status, reason, share = Status.OK, '', 0.0
  endings = effects.ending[ids]
  if (endings >= 0).any():
    first = int((endings >= 0).argmax())
    status, what, share = ENDINGS[endings[first]]
    reason = f'Edit {ids[first]} {what}: try another variant in its place.'
  elif len(ids) > 1 and (clash := effects.conflicts[ids[:, None], ids]).any():
    one, other = np.argwhere(clash)[0]
    status, reason = Status.INVALID, f'Edits {ids[one]} and {ids[other]} do not go together.'
  elif memory > 1:
    need, has = memory * DEVICE_BYTES / 2**30, DEVICE_BYTES / 2**30
    status, reason = Status.OOM, f'It needs {need:.1f} GiB; the device has {has:.1f} GiB.'
  if status is Status.OK:
    return None
  seconds = share * profile.training_seconds, profile.other_seconds
  return Evaluation(
    status=status, reason=reason, training_seconds=seconds[0], other_seconds=seconds[1]
  )
