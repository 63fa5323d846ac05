"""The lineage simulator: a program is the list of edits that were applied to a root.

Edits are variants at sites, and each site belongs to an area, such as the optimizer or the model.
An edit replaces the variant that was at its site. Most edits that have an effect are harmful, with
heavy-tailed sizes; some are harmful alone and helpful together with a partner; some never run; some
exclude each other; and each changes the memory that the program needs, above which it is refused.
Within an area, gains have diminishing returns towards a floor. All of this is drawn from the
instance's seed with the numbers of a `Profile` (see `profiles.py` and `effects.py`); from then on
the same program always behaves the same.

The optimum is the best known one, see `best_lineage.py`. The metrics part_0 to part_3 are the
contributions of the areas.

Not modelled: proposers that learn from what they are shown, effects that depend on more than one
partner, machines whose speed drifts.
"""

import dataclasses
import functools

import numpy as np

from autoresearch_jax.benchmark.simulations.base import ENTRY, SIMULATIONS, Instance, Simulation
from autoresearch_jax.benchmark.simulations.best_lineage import best_edits
from autoresearch_jax.benchmark.simulations.effects import (
  AREAS,
  EDITS,
  SITES,
  VARIANTS,
  EditEffects,
  draw_effects,
  evaluate,
)
from autoresearch_jax.benchmark.simulations.measuring import Evaluation, MeasurementModel
from autoresearch_jax.benchmark.simulations.profiles import PROFILES, Profile
from autoresearch_jax.benchmark.simulations.proposing import (
  PURE_CROSSOVERS,
  DraftedEdit,
  effective_proposal,
  first_untried,
  merge_partner,
)
from autoresearch_jax.proposers import ProposalContext
from autoresearch_jax.types import (
  Edit,
  Objective,
  Operation,
  Program,
  Proposal,
  Result,
  Status,
  TrialRequest,
)

LOSS = Objective('loss', 'minimize')
REMOVAL_PROBABILITY = 0.1  # that a plain improvement removes an edit instead of adding one


@SIMULATIONS.register('lineage')
@dataclasses.dataclass(frozen=True)
class Lineage(Simulation):
  """Research on a real program, in numbers.

  Attributes:
    profile: A name in PROFILES.
    noise: Multiplies the profile's standard deviation between training seeds.
  """

  profile: str = 'h100'
  noise: float = 1.0

  def __post_init__(self) -> None:
    if self.profile not in PROFILES:
      raise ValueError(
        f'There is no lineage profile {self.profile!r}; there are: {", ".join(PROFILES)}.'
      )
    if not 0 <= self.noise < float('inf'):
      raise ValueError(
        f'noise is {self.noise}; it multiplies the recorded standard deviation and must be 0 or '
        'more.'
      )

  def instance(self, seed: int) -> 'LineageInstance':
    key = f'lineage-{self.profile}/{seed}'
    return LineageInstance(key, PROFILES[self.profile], self.noise, _effects(self.profile, seed))


@functools.lru_cache(maxsize=64)
def _effects(profile: str, seed: int) -> EditEffects:
  return draw_effects(PROFILES[profile], seed)


@functools.lru_cache(maxsize=256)
def _best_edits(profile: Profile, effects: EditEffects) -> list[int]:
  return best_edits(profile, effects)


class LineageInstance(Instance):
  """An instance. A program's text is 'root' and its edits' numbers, one per line, in order."""

  def __init__(self, key: str, profile: Profile, noise: float, effects: EditEffects):
    """Makes an instance.

    Args:
      key: Name and seed of the instance; keys the noise.
      profile: The sizes that the effects were drawn from.
      noise: Multiplies the profile's standard deviation between training seeds.
      effects: The effect of every edit.
    """
    self.profile = profile
    self.noise = noise
    self.effects = effects
    self._start = program_of([])
    self._model = MeasurementModel(key, LOSS, profile.baseline - profile.floor)

  @property
  def objective(self) -> Objective:
    return LOSS

  @property
  def start(self) -> Program:
    return self._start

  @property
  def solution(self) -> Program:
    return program_of(_best_edits(self.profile, self.effects))

  @property
  def optimum(self) -> float:
    return self._optimum

  @functools.cached_property
  def _optimum(self) -> float:
    return self._evaluation(self.solution).value

  def value(self, program: Program) -> float | None:
    return self._evaluation(program).value_if_ok

  def measure(self, request: TrialRequest) -> Result:
    """Runs a trial; programs with the same edits are the same, whatever their order."""
    edits = edits_of(request.program)
    fingerprint = request.program.digest if edits is None else ' '.join(map(str, sorted(edits)))
    return self._model.result(request, self._evaluation(request.program), fingerprint)

  def propose(self, proposal: Proposal, context: ProposalContext, rng: np.random.Generator) -> Edit:
    """Adds an edit, or removes one.

    Guidance changes the default: `tuning` takes another variant at an occupied site, `creative`
    uses an empty site, `ablation` removes an edit, and `rewrite` adds four at once. A draft adds
    two. `debug` replaces the last edit by another variant, or removes it. `merge` takes what both
    parents have, and each other edit of theirs with probability one half. Where all of that was
    tried (for example when every edit was removed once), any edit is drawn, later several.
    """
    edits = edits_of(context.parents[0]) or []
    other = merge_partner(proposal, context)
    mate = None if other is None else edits_of(other) or []

    def draw(attempt: int) -> DraftedEdit:
      if mate is not None:
        merged = _merged(edits, mate, rng)
        count = (attempt + PURE_CROSSOVERS) // (2 * PURE_CROSSOVERS)
        more = [_any_edit(rng) for _ in range(count)]
        return _draft(_applied(merged, more), 'merge the edits of both parents', 'merge')
      return _edited(edits, effective_proposal(proposal, attempt), rng, attempt)

    return first_untried(context, draw)

  def _evaluation(self, program: Program) -> Evaluation:
    edits = edits_of(program)
    if edits is None:
      reason = (
        f"{ENTRY} must be 'root', followed by edits of different sites, 0 to {EDITS - 1}, one per "
        'line.'
      )
      return Evaluation(status=Status.INVALID, reason=reason, training_seconds=0.0)
    return evaluate(self.profile, self.effects, edits, self.noise)


def program_of(edits: list[int]) -> Program:
  """Returns the program with these edits, in this order."""
  return Program(((ENTRY, '\n'.join(['root', *map(str, edits)]) + '\n'),), ENTRY)


def edits_of(program: Program) -> list[int] | None:
  """Returns the program's edits, in order; None when the text is not a lineage."""
  root, *words = program.files[0][1].split() or ['']
  try:
    edits = list(map(int, words))
  except ValueError:
    return None
  sites = {edit // VARIANTS for edit in edits}
  valid = root == 'root' and len(sites) == len(edits)
  return edits if valid and all(0 <= edit < EDITS for edit in edits) else None


def _edited(
  edits: list[int], proposal: Proposal, rng: np.random.Generator, attempt: int
) -> DraftedEdit:
  if edits and proposal.operation is Operation.DEBUG:
    last, rest = edits[-1], edits[:-1]
    fixed = rest if rng.random() < 0.5 else _applied(rest, [_other_variant(last, rng)])
    return _draft(fixed, f'fix edit {last}', _area(last))
  plain = not proposal.guidance and proposal.operation is Operation.IMPROVE
  if edits and (proposal.guidance == 'ablation' or (plain and rng.random() < REMOVAL_PROBABILITY)):
    out = edits[rng.integers(len(edits))]
    return _draft([e for e in edits if e != out], f'remove edit {out}', _area(out))
  if edits and proposal.guidance == 'tuning':
    new = [_other_variant(edits[rng.integers(len(edits))], rng)]
  elif proposal.guidance == 'creative':
    new = [_edit_at_empty_site(edits, rng)]
  elif proposal.guidance == 'rewrite':
    new = [_any_edit(rng) for _ in range(4)]
  else:
    count = 2 if proposal.operation is Operation.DRAFT else max(1, attempt // 10)
    new = [_any_edit(rng) for _ in range(count)]
  listed = ' and '.join(map(str, new))
  return _draft(_applied(edits, new), f'apply edit {listed}', _area(new[0]))


def _draft(edits: list[int], description: str, tag: str) -> DraftedEdit:
  return DraftedEdit(program_of(edits), description, tag)


def _applied(edits: list[int], new: list[int]) -> list[int]:
  """Returns the edits with `new` ones, which replace those at their sites."""
  for edit in new:
    edits = [e for e in edits if e // VARIANTS != edit // VARIANTS] + [edit]
  return edits


def _merged(one: list[int], other: list[int], rng: np.random.Generator) -> list[int]:
  common = set(one) & set(other)
  kept = [e for e in one if e in common or rng.random() < 0.5]
  return _applied(kept, [e for e in other if e not in common and rng.random() < 0.5])


def _any_edit(rng: np.random.Generator) -> int:
  return int(rng.integers(EDITS))


def _other_variant(edit: int, rng: np.random.Generator) -> int:
  """Draws another variant at the edit's site."""
  step = 1 + int(rng.integers(VARIANTS - 1))
  return edit // VARIANTS * VARIANTS + (edit + step) % VARIANTS


def _edit_at_empty_site(edits: list[int], rng: np.random.Generator) -> int:
  """Draws an edit at an empty site; any edit when all sites are occupied."""
  taken = {edit // VARIANTS for edit in edits}
  free = [site for site in range(EDITS // VARIANTS) if site not in taken]
  if not free:
    return _any_edit(rng)
  return free[rng.integers(len(free))] * VARIANTS + int(rng.integers(VARIANTS))


def _area(edit: int) -> str:
  return AREAS[edit // (SITES * VARIANTS)]
