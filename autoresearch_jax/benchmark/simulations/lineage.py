"""The lineage simulator: a program is the list of edits that were applied to a root.

An edit puts one of the variants in a site, in place of the one that was there; sites belong to
four areas, such as the optimizer or the model. Most edits that do anything do harm, by sizes with
a heavy tail; some harm alone and help together with a partner; some never run; some do not go
together; each moves the memory that the program takes, above which it is refused; and inside an
area what helps has diminishing returns, towards a floor. All of it is drawn from the instance's
seed by the numbers of a `Profile` (see `profiles.py` and `effects.py`), and from then on the same
edit of the same program always does the same.

The optimum is the best that is known, see `reachable.py`. part_0 to part_3: what the areas
contribute. What it does not model: proposers that learn from what they are shown, effects that
depend on more than a partner, machines whose speed drifts.
"""

import dataclasses
import functools

import numpy as np

from autoresearch_jax.benchmark.simulations import ENTRY, SIMULATIONS
from autoresearch_jax.benchmark.simulations.effects import (
  AREAS,
  EDITS,
  SITES,
  VARIANTS,
  Effects,
  drawn,
  evaluation,
)
from autoresearch_jax.benchmark.simulations.measuring import Evaluation, Meter
from autoresearch_jax.benchmark.simulations.profiles import PROFILES, Profile
from autoresearch_jax.benchmark.simulations.proposing import CROSSED, Draft, partner, untried, wish
from autoresearch_jax.benchmark.simulations.reachable import best_edits
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
REMOVED = 0.1  # share of improvements that take an edit out again


@SIMULATIONS.register('lineage')
@dataclasses.dataclass(frozen=True)
class Lineage:
  """profile: a name in PROFILES. noise: times the profile's deviation between seeds."""

  profile: str = 'h100'
  noise: float = 1.0

  def __post_init__(self) -> None:
    if self.profile not in PROFILES:
      raise ValueError(
        f'There is no lineage profile {self.profile!r}; there are: {", ".join(PROFILES)}.'
      )
    if not 0 <= self.noise < float('inf'):
      raise ValueError(f'noise is {self.noise}; it is times the recorded deviation, 0 or more.')

  def instance(self, seed: int) -> 'Root':
    key = f'lineage-{self.profile}/{seed}'
    return Root(key, PROFILES[self.profile], self.noise, _effects(self.profile, seed))


@functools.lru_cache(maxsize=64)
def _effects(profile: str, seed: int) -> Effects:
  return drawn(PROFILES[profile], seed)


@functools.lru_cache(maxsize=256)
def _best(profile: Profile, effects: Effects) -> list[int]:
  return best_edits(profile, effects)


@dataclasses.dataclass(frozen=True, eq=False)
class Root:
  """An instance. A program's text is 'root' and the numbers of its edits, one a line, in order."""

  key: str
  profile: Profile
  noise: float
  effects: Effects

  @property
  def objective(self) -> Objective:
    return LOSS

  @property
  def space(self) -> dict[str, dict[str, float]]:
    return {}

  @functools.cached_property
  def start(self) -> Program:
    return program_of([])

  @functools.cached_property
  def solution(self) -> Program:
    return program_of(_best(self.profile, self.effects))

  @functools.cached_property
  def optimum(self) -> float:
    return self._evaluation(self.solution).value

  def value(self, program: Program) -> float | None:
    return self._evaluation(program).worth

  def measure(self, request: TrialRequest) -> Result:
    """Programs with the same edits mean the same, whatever their order."""
    edits = edits_of(request.program)
    meaning = request.program.digest if edits is None else ' '.join(map(str, sorted(edits)))
    return self._meter.result(request, self._evaluation(request.program), meaning)

  def propose(self, proposal: Proposal, context: ProposalContext, rng: np.random.Generator) -> Edit:
    """Adds an edit, or takes one out.

    tuning: another variant in a site that has one. creative: a site that has none. ablation: one
    out. rewrite: four at once; drafts: two. debug: another variant in place of the last edit, or
    without it. merge: what both parents have, and each other edit of theirs with even chances.
    Where all of that was tried, say when every edit was taken out once: any edit, at last several.
    """
    edits = edits_of(context.parents[0]) or []
    other = partner(proposal, context)
    mate = None if other is None else edits_of(other) or []

    def draw(attempt: int) -> Draft:
      if mate is not None:
        merged = _merged(edits, mate, rng)
        more = [_any(rng) for _ in range((attempt + CROSSED) // (2 * CROSSED))]
        return _draft(_applied(merged, more), 'merge the edits of both parents', 'merge')
      return _edited(edits, wish(proposal, attempt), rng, attempt)

    return untried(context, draw)

  @functools.cached_property
  def _meter(self) -> Meter:
    return Meter(self.key, LOSS, self.profile.baseline - self.profile.floor)

  def _evaluation(self, program: Program) -> Evaluation:
    edits = edits_of(program)
    if edits is None:
      reason = f"{ENTRY} must be 'root' and edits of different sites, 0 to {EDITS - 1}, one a line."
      return Evaluation(status=Status.INVALID, reason=reason, training_seconds=0.0)
    return evaluation(self.profile, self.effects, edits, self.noise)


def program_of(edits: list[int]) -> Program:
  return Program(((ENTRY, '\n'.join(['root', *map(str, edits)]) + '\n'),), ENTRY)


def edits_of(program: Program) -> list[int] | None:
  """The edits in order; None when the text is no lineage."""
  root, *words = program.files[0][1].split() or ['']
  try:
    edits = list(map(int, words))
  except ValueError:
    return None
  sites = {edit // VARIANTS for edit in edits}
  sound = root == 'root' and len(sites) == len(edits)
  return edits if sound and all(0 <= edit < EDITS for edit in edits) else None


def _edited(edits: list[int], proposal: Proposal, rng: np.random.Generator, attempt: int) -> Draft:
  if edits and proposal.operation is Operation.DEBUG:
    last, rest = edits[-1], edits[:-1]
    mended = rest if rng.random() < 0.5 else _applied(rest, [_variant(last, rng)])
    return _draft(mended, f'mend edit {last}', _area(last))
  plain = not proposal.guidance and proposal.operation is Operation.IMPROVE
  if edits and (proposal.guidance == 'ablation' or (plain and rng.random() < REMOVED)):
    out = edits[rng.integers(len(edits))]
    return _draft([e for e in edits if e != out], f'take out edit {out}', _area(out))
  if edits and proposal.guidance == 'tuning':
    new = [_variant(edits[rng.integers(len(edits))], rng)]
  elif proposal.guidance == 'creative':
    new = [_elsewhere(edits, rng)]
  elif proposal.guidance == 'rewrite':
    new = [_any(rng) for _ in range(4)]
  else:
    count = 2 if proposal.operation is Operation.DRAFT else max(1, attempt // 10)
    new = [_any(rng) for _ in range(count)]
  said = ' and '.join(map(str, new))
  return _draft(_applied(edits, new), f'apply edit {said}', _area(new[0]))


def _draft(edits: list[int], description: str, tag: str) -> Draft:
  return Draft(program_of(edits), description, tag)


def _applied(edits: list[int], new: list[int]) -> list[int]:
  """The new ones take the place of what was in their sites."""
  for edit in new:
    edits = [e for e in edits if e // VARIANTS != edit // VARIANTS] + [edit]
  return edits


def _merged(one: list[int], other: list[int], rng: np.random.Generator) -> list[int]:
  common = set(one) & set(other)
  kept = [e for e in one if e in common or rng.random() < 0.5]
  return _applied(kept, [e for e in other if e not in common and rng.random() < 0.5])


def _any(rng: np.random.Generator) -> int:
  return int(rng.integers(EDITS))


def _variant(edit: int, rng: np.random.Generator) -> int:
  """Another variant of the same site."""
  step = 1 + int(rng.integers(VARIANTS - 1))
  return edit // VARIANTS * VARIANTS + (edit + step) % VARIANTS


def _elsewhere(edits: list[int], rng: np.random.Generator) -> int:
  """An edit of a site that has none; any edit when all have one."""
  taken = {edit // VARIANTS for edit in edits}
  free = [site for site in range(EDITS // VARIANTS) if site not in taken]
  if not free:
    return _any(rng)
  return free[rng.integers(len(free))] * VARIANTS + int(rng.integers(VARIANTS))


def _area(edit: int) -> str:
  return AREAS[edit // (SITES * VARIANTS)]
