"""The effects of a lineage's edits: drawn from a profile, and combined for a program.

Each area accounts for a quarter of the distance from baseline to floor. Within an area, gains have
diminishing returns while losses add up; with both in units of that distance:

    metric = floor + (baseline - floor)/4 · Σ over areas (exp(-4 Σ gain) + 4 Σ loss)
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from autoresearch_jax.benchmark.simulations.measuring import Evaluation
from autoresearch_jax.benchmark.simulations.profiles import Profile
from autoresearch_jax.types import Status

AREAS = ('optimizer', 'model', 'attention', 'schedule')
SITES = 16  # per area
VARIANTS = 10  # per site
EDITS = len(AREAS) * SITES * VARIANTS
DEVICE_BYTES = 80 * 2**30
# How a broken edit fails, and the share of the training time that passes until then.
FAILURES = (
  (Status.INVALID, 'does not trace', 0.0),
  (Status.INVALID, 'breaks the contract of a program', 0.0),
  (Status.DIVERGED, 'makes the loss NaN', 0.3),
  (Status.TIMEOUT, 'makes a step take too long', 1.0),
)
_AREA = np.arange(EDITS) // (SITES * VARIANTS)


@dataclasses.dataclass(frozen=True, eq=False)
class EditEffects:
  """The effect of every edit; arrays of shape [EDITS] unless said otherwise.

  Attributes:
    gain: Improvement, in units of baseline - floor.
    loss: Deterioration, in the same unit.
    partner: The other edit of a pair, -1 for none. An edit of a pair has its gain where the partner
      is present and its loss where it is absent.
    failure: Index in FAILURES, -1 for edits that run.
    memory: Added to the logarithm of the memory.
    conflicts: Whether two edits exclude each other; bool, [EDITS, EDITS], symmetric.
  """

  gain: np.ndarray
  loss: np.ndarray
  partner: np.ndarray
  failure: np.ndarray
  memory: np.ndarray
  conflicts: np.ndarray


def draw_effects(profile: Profile, seed: int) -> EditEffects:
  """Draws the effects of the instance with this seed."""
  rng = np.random.default_rng((seed, 5))
  kind = rng.random(EDITS)
  sizes = [
    median * np.exp(spread * rng.standard_normal(EDITS))
    for median, spread in (
      (profile.helpful_median, profile.helpful_spread),
      (profile.harmful_median, profile.harmful_spread),
    )
  ]
  partner = _draw_pairs(profile.pairs, rng)
  paired = partner >= 0
  helps = (kind < profile.helpful) | paired
  harms = ((kind >= profile.helpful) & (kind < profile.helpful + profile.harmful)) | paired
  broken = (rng.random(EDITS) < profile.broken) & ~paired
  moves = (rng.random(EDITS) < 1 / 3) * profile.memory_spread
  conflicts = np.triu(rng.random((EDITS, EDITS)) < profile.conflict, 1)
  return EditEffects(
    gain=np.where(helps, sizes[0], 0.0),
    loss=np.where(harms, sizes[1], 0.0),
    partner=partner,
    failure=np.where(broken, rng.integers(len(FAILURES), size=EDITS), -1),
    memory=moves * rng.standard_normal(EDITS),
    conflicts=conflicts | conflicts.T,
  )


def _draw_pairs(share: float, rng: np.random.Generator) -> np.ndarray:
  """Draws the partner of each edit, -1 for none; partners belong to different sites."""
  partner = np.full(EDITS, -1)
  chosen = rng.permutation(EDITS)[: 2 * round(share * EDITS / 2)]
  for one, other in chosen.reshape(-1, 2):
    if one // VARIANTS != other // VARIANTS:
      partner[one], partner[other] = other, one
  return partner


def evaluate(
  profile: Profile, effects: EditEffects, edits: Sequence[int], noise: float
) -> Evaluation:
  """Returns the noiseless outcome of a program.

  Args:
    profile: The sizes that the effects were drawn from.
    effects: The instance's effects.
    edits: The program's edits.
    noise: Multiplies the profile's standard deviation between training seeds.
  """
  ids = np.array(edits, np.intp)
  memory = profile.memory * float(np.exp(effects.memory[ids].sum()))
  if failure := _failure(profile, effects, ids, memory):
    return failure
  by_area = _AREA[ids]
  gain, loss = gains_and_losses(effects, ids)
  gains = np.exp(-4 * np.bincount(by_area, gain, len(AREAS)))
  losses = 4 * np.bincount(by_area, loss, len(AREAS))
  quarter = (profile.baseline - profile.floor) / len(AREAS)
  parts = tuple((profile.floor / len(AREAS) + quarter * (gains + losses)).tolist())
  return Evaluation(
    sum(parts),
    parts,
    noise * profile.noise,
    profile.training_seconds,
    profile.other_seconds,
    round(memory * DEVICE_BYTES),
  )


def gains_and_losses(effects: EditEffects, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Returns the gain and the loss of each of a program's edits, both [edits]."""
  present = np.zeros(EDITS, bool)
  present[ids] = True
  partner = effects.partner[ids]
  unpaired = partner < 0
  together = ~unpaired & present[partner]
  gain = np.where(unpaired | together, effects.gain[ids], 0.0)
  return gain, np.where(together, 0.0, effects.loss[ids])


def _failure(
  profile: Profile, effects: EditEffects, ids: np.ndarray, memory: float
) -> Evaluation | None:
  """Returns how the program fails: a broken edit, a conflict, or out of memory; else None."""
  status, reason, share = Status.OK, '', 0.0
  failures = effects.failure[ids]
  if (failures >= 0).any():
    first = int((failures >= 0).argmax())
    status, what, share = FAILURES[failures[first]]
    reason = f'Edit {ids[first]} {what}: try another variant at its site.'
  elif len(ids) > 1 and (clash := effects.conflicts[ids[:, None], ids]).any():
    one, other = np.argwhere(clash)[0]
    status, reason = Status.INVALID, f'Edits {ids[one]} and {ids[other]} exclude each other.'
  elif memory > 1:
    need, has = memory * DEVICE_BYTES / 2**30, DEVICE_BYTES / 2**30
    status, reason = Status.OOM, f'It needs {need:.1f} GiB; the device has {has:.1f} GiB.'
  if status is Status.OK:
    return None
  return Evaluation(
    status=status,
    reason=reason,
    training_seconds=share * profile.training_seconds,
    other_seconds=profile.other_seconds,
  )
