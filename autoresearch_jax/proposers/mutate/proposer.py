"""The offline proposer: one random edit of a constant or of the program's structure.

It needs no API key, network or model. The edits that apply are found in the program's syntax tree,
and their prior probabilities are data: `constant_rules`, `coupled_constants`, and the `edits.py` of
each program. Outcomes of the trials that the strategy shows (`proposal.context`) change the
probabilities: edits like a kept one become more likely, edits like a discarded one less. Edits that
a question asks about, whether the planner's or the proposal's, become more likely too.

Where the programs allow it, the proposal selects another kind of edit:

- Operation `merge` takes constants of the second parent.
- Operation `debug` restores one constant of the failing program to its parent's value, or halfway.
- Guidance `ablation` restores one constant to the start program's value.
- Guidance `tuning` changes constants only, `creative` structure only.
- Guidance `rewrite` makes two or three edits at once.

A language model that sees few tokens a parameter within the budget is too large for it: edits that
make it smaller become more likely, those that make it larger less, and the other way round.
"""

import ast
import collections
import dataclasses
import functools
import math
from collections.abc import Iterator, Mapping, Sequence

import libcst as cst
import numpy as np

from autoresearch_jax.programs import protection
from autoresearch_jax.programs.catalogue import Catalogue, of_programs, packaged
from autoresearch_jax.programs.library_calls import library_edits
from autoresearch_jax.programs.source import Source
from autoresearch_jax.programs.strategy_parts import part_edits
from autoresearch_jax.programs.structural_edits import Kind, SourceEdit, available
from autoresearch_jax.proposers.base import PROPOSERS, NothingToPropose, ProposalContext, Proposer
from autoresearch_jax.proposers.mutate import crossover
from autoresearch_jax.proposers.mutate.constant_edits import constant_edits
from autoresearch_jax.proposers.mutate.steps import FactorRange
from autoresearch_jax.types import RERUNS, Decision, Edit, Hypothesis, Program, Proposal, Trial

# Factors for the weight of an edit whose earlier use was kept (and of the opposite edit), discarded
# or crashed. A crash is stronger evidence than a score that is no better.
KEPT, OPPOSITE, DISCARDED, CRASHED = 2.0, 0.5, 0.6, 0.4
MIN_LEARNT, MAX_LEARNT = 0.1, 5.0  # their product is clipped to this range
MAX_FACTOR = 1e6  # of an option
# Tokens a parameter at which a language model has the best size for its compute (Hoffmann et al.,
# Training Compute-Optimal Large Language Models, 2022, https://arxiv.org/abs/2203.15556).
BEST_TOKENS_PER_PARAMETER = 20.0
MAX_SIZE_FACTOR = 10.0
SIZES = ('depth', 'width')  # mechanisms of edits that change the number of parameters
MAX_FURTHER_TRIES = 10  # draws for the second and third edit of a rewrite
OPPOSITES = {'up': 'down', 'down': 'up'}
# Kinds of edits that a word of guidance allows.
KINDS: dict[str, tuple[Kind, ...]] = {
  'tuning': ('constant', 'coupled'),
  'creative': ('structure',),
}


@PROPOSERS.register('mutate')
@dataclasses.dataclass(frozen=True)
class Mutate(Proposer):
  """Makes random edits.

  Attributes:
    structural_share: Fraction of edits that change the structure.
    coupled_share: Fraction of edits that change several constants together. The rest change one
      constant. The shares are renormalized over the kinds of edits that apply to the program.
    min_factor: Smallest factor that a constant is multiplied or divided by.
    max_factor: Largest such factor.
    learn: Whether outcomes of the trials that the strategy shows change the probabilities.
    question_weight: Factor for the weight of an edit that a question asks about; 1 ignores them.
    max_tries: Number of draws before giving up.
  """

  structural_share: float = 0.25
  coupled_share: float = 0.25
  min_factor: float = 1.15
  max_factor: float = 3.0
  learn: bool = True
  question_weight: float = 3.0
  max_tries: int = 200

  def __post_init__(self) -> None:
    shares = (self.structural_share, self.coupled_share)
    if min(shares) < 0 or sum(shares) > 1:
      raise ValueError(
        f'structural_share and coupled_share are {shares}; they and their sum must lie in [0, 1].'
      )
    if self.max_tries < 1:
      raise ValueError(f'max_tries is {self.max_tries}; it must be at least 1.')
    if not 1 < self.min_factor <= self.max_factor <= MAX_FACTOR:
      raise ValueError(
        f'min_factor is {self.min_factor} and max_factor {self.max_factor}; '
        f'they must satisfy 1 < min_factor <= max_factor <= {MAX_FACTOR:g}.'
      )
    if not 1 <= self.question_weight <= MAX_FACTOR:
      raise ValueError(
        f'question_weight is {self.question_weight}; it must be 1 to {MAX_FACTOR:g}.'
      )

  def propose(self, proposal: Proposal, context: ProposalContext, rng: np.random.Generator) -> Edit:
    """Returns a random edit whose program is new to the run.

    Raises:
      NothingToPropose: No edit applies to the program, or all draws repeat earlier programs.
    """
    for edit in crossover.crossover_edits(proposal, context, rng):
      if _is_new(edit.program, context):
        return edit
    offered = self._applicable(context.parents[0], proposal, context)
    if not offered:
      raise NothingToPropose(
        f'None of {", ".join(context.editable)} has an ALL_CAPS constant or a structure '
        'that the proposer mutate can edit.'
      )
    probabilities = self._probabilities([edit for _, edit in offered], proposal, context)
    for _ in range(self.max_tries):
      name, edit = offered[rng.choice(len(offered), p=probabilities)]
      edited = _edited(context.parents[0], name, edit, rng)
      if edited and proposal.guidance == 'rewrite':
        edited = self._with_further_edits(edited, proposal, context, rng)
      if edited and _is_new(edited.program, context):
        return edited.as_edit(proposal, context)
    raise NothingToPropose(
      f'None of {self.max_tries} random edits gave a program that was not tried before '
      f'({len(context.tried)} were tried).'
    )

  def _with_further_edits(
    self,
    edited: '_EditedProgram',
    proposal: Proposal,
    context: ProposalContext,
    rng: np.random.Generator,
  ) -> '_EditedProgram':
    """Makes one or two further edits with other keys, if enough apply."""
    wanted = int(rng.integers(2, 4))
    for _ in range(MAX_FURTHER_TRIES):
      done = {edit.key for edit in edited.edits}
      applicable = self._applicable(edited.program, proposal, context)
      offered = [(name, edit) for name, edit in applicable if edit.key not in done]
      if len(edited.edits) == wanted or not offered:
        break
      probabilities = self._probabilities([edit for _, edit in offered], proposal, context)
      name, edit = offered[rng.choice(len(offered), p=probabilities)]
      further = _edited(edited.program, name, edit, rng)
      edited = edited.then(further) if further else edited
    return edited

  def _applicable(
    self, program: Program, proposal: Proposal, context: ProposalContext
  ) -> list[tuple[str, SourceEdit]]:
    """Returns (file, edit) for all edits that apply, in the order of the files.

    Edits of kinds that the guidance excludes are left out, unless that would leave none.
    """
    factors = FactorRange(self.min_factor, self.max_factor)
    found = []
    for name, text in program.files:
      if name in context.editable and name.endswith('.py'):
        found += [(name, edit) for edit in _file_edits(text, factors, context.structural_edits)]
    return [(n, e) for n, e in found if e.kind in KINDS.get(proposal.guidance, (e.kind,))] or found

  def _probabilities(
    self, edits: list[SourceEdit], proposal: Proposal, context: ProposalContext
  ) -> np.ndarray:
    """Returns the probability of each edit, [edits].

    The share of its kind is distributed by weight, then scaled by learnt factors, questions, and
    whether the model is too large for its budget.
    """
    factors = _learnt_factors(proposal, context) if self.learn else {}
    shares = {'structure': self.structural_share, 'coupled': self.coupled_share}
    shares['constant'] = 1 - sum(shares.values())
    weights = np.array([e.weight for e in edits])
    totals: dict[str, float] = collections.defaultdict(float)
    for edit in edits:
      totals[edit.kind] += edit.weight
    share = np.array([shares[e.kind] / totals[e.kind] for e in edits])
    odds = weights * share * np.array([factors.get(e.key, 1.0) for e in edits])
    asked = [_is_asked_about(e, proposal, context) for e in edits]
    odds *= np.where(asked, self.question_weight, 1.0)
    smaller = _smaller_is_better(proposal, context)
    odds *= np.array([smaller ** _shrinks(e) for e in edits])
    if not odds.sum():  # only kinds with share 0 apply
      odds = weights
    return odds / odds.sum()


@dataclasses.dataclass(frozen=True)
class _EditedProgram:
  """A program after one or more edits."""

  program: Program
  edits: tuple[SourceEdit, ...]
  descriptions: tuple[str, ...]

  def then(self, further: '_EditedProgram') -> '_EditedProgram':
    return _EditedProgram(
      further.program, self.edits + further.edits, self.descriptions + further.descriptions
    )

  def as_edit(self, proposal: Proposal, context: ProposalContext) -> Edit:
    return Edit(
      self.program, '; '.join(self.descriptions), _hypothesis(self.edits, proposal, context)
    )


@functools.lru_cache(maxsize=8)  # finding the edits is slow, and one program is edited many times
def _file_edits(text: str, factors: FactorRange, own: Catalogue) -> tuple[SourceEdit, ...]:
  """Returns all edits that apply to a file; none if it does not parse.

  Args:
    text: The file.
    factors: Range of step sizes.
    own: Structural edits of the program's own folder.
  """
  try:
    source = Source(text)
  except cst.ParserSyntaxError:
    return ()
  structural = [*available(source, (*packaged(), *own)), *part_edits(text)]
  found = (*constant_edits(source, factors), *structural)
  if available(source, of_programs()):
    return found
  covered = {mechanism for edit in structural for mechanism in edit.mechanisms}
  return (*found, *library_edits(source, covered))


def _edited(
  program: Program, name: str, edit: SourceEdit, rng: np.random.Generator
) -> _EditedProgram | None:
  """Applies an edit to a file; None if that changes nothing or gives invalid Python."""
  rewrite = edit.make(rng)
  if rewrite is None or not _parses(rewrite.text):
    return None
  return _EditedProgram(program.with_text(rewrite.text, name), (edit,), (rewrite.description,))


def _is_new(program: Program, context: ProposalContext) -> bool:
  parent = context.parents[0]
  if program.digest in context.tried or program.digest == parent.digest:
    return False
  return not protection.changed(context.protected, parent, program)


def _parses(text: str) -> bool:
  try:
    ast.parse(text)
  except (SyntaxError, ValueError, RecursionError):
    return False
  return True


def _learnt_factors(proposal: Proposal, context: ProposalContext) -> dict[str, float]:
  """Returns factors for the weights, by key of an edit, from the outcomes of the shown trials."""
  factors: dict[str, float] = collections.defaultdict(lambda: 1.0)
  for key, decision in _outcomes(proposal, context):
    if decision is Decision.KEEP:
      factors[key] = max(1.0, factors[key]) * KEPT
      if (opposite := _opposite(key)) != key:  # structural alternatives have no opposite
        factors[opposite] *= OPPOSITE
    else:
      factors[key] *= DISCARDED if decision is Decision.DISCARD else CRASHED
  return {key: min(max(factor, MIN_LEARNT), MAX_LEARNT) for key, factor in factors.items()}


def _outcomes(proposal: Proposal, context: ProposalContext) -> Iterator[tuple[str, Decision]]:
  """Yields (key, decision) of each shown edit once, although reruns may show it several times."""
  seen: set[int] = set()
  for number in proposal.context:
    trial = context.history.get(number)
    original = _original(trial, context.history) if trial else None
    if trial is None or original is None or original.id in seen:
      continue
    if (decision := _decision(trial, original, context)) is not None:
      seen.add(original.id)
      if key := _key(original.edit.hypothesis):
        yield key, decision


def _original(trial: Trial, history: Mapping[int, Trial]) -> Trial | None:
  """Returns the trial that a rerun repeats, or the trial itself; None if it has not finished."""
  found: Trial | None = trial
  while found and found.proposal.operation in RERUNS and found.proposal.parents:
    found = history.get(found.proposal.parents[0])
  return found


def _decision(trial: Trial, original: Trial, context: ProposalContext) -> Decision | None:
  """Returns the decision on an edit, None while it is open.

  A DISCARD is not final if the trial used a fraction of the budget, or if a replication may still
  overturn it.

  Args:
    trial: The trial that is shown.
    original: The trial that it repeats, or itself.
    context: What is known of the run.
  """
  if trial.verdict is None:
    return None
  decision = trial.verdict.decision
  if original.id in context.kept or decision is Decision.KEEP:
    return Decision.KEEP
  is_open = trial.proposal.fidelity < 1 or {trial.id, original.id} & context.undecided
  return None if is_open and decision is Decision.DISCARD else decision


def _key(hypothesis: Hypothesis) -> str:
  """Returns the key of the edit, which is the last tag of its hypothesis; '' without tags."""
  return hypothesis.mechanisms[-1] if hypothesis.mechanisms else ''


def _is_asked_about(edit: SourceEdit, proposal: Proposal, context: ProposalContext) -> bool:
  """Whether a planner's question has the edit's key as a tag, or the proposal's quotes it."""
  planned = any(edit.key in question.tags for question in context.questions)
  return planned or f"'{edit.key}'" in proposal.question


def _smaller_is_better(proposal: Proposal, context: ProposalContext) -> float:
  """Returns the factor for edits that make the parent smaller; below 1 if it is too small.

  The root of how far its tokens a parameter are from the best number, since sizes below and above
  it cost little; 1 for a program that has no score yet, and for other problems.
  """
  parent = context.history.get(proposal.parents[0]) if proposal.parents else None
  runs = parent.result.measurements if parent is not None else ()
  if context.spec.kind != 'language_model' or not runs:
    return 1.0
  cost = runs[0].cost
  if not cost.parameters or not cost.tokens:
    return 1.0
  factor = math.sqrt(BEST_TOKENS_PER_PARAMETER * cost.parameters / cost.tokens)
  return min(max(factor, 1 / MAX_SIZE_FACTOR), MAX_SIZE_FACTOR)


def _shrinks(edit: SourceEdit) -> int:
  """Returns 1 for an edit that makes the model smaller, -1 for larger, and else 0."""
  if edit.kind == 'structure' or not set(SIZES) & set(edit.mechanisms):
    return 0
  words = edit.key.split()
  return ('down' in words) - ('up' in words)


def _opposite(key: str) -> str:
  return ' '.join(OPPOSITES.get(word, word) for word in key.split(' '))


def _hypothesis(
  edits: Sequence[SourceEdit], proposal: Proposal, context: ProposalContext
) -> Hypothesis:
  """Returns the hypothesis of one or more edits.

  Its predicted effect is in the metric's unit, scaled by the parent's value, and None before that
  is known. Effects of several edits are taken as independent: means and variances add up.
  """
  parent = context.history.get(proposal.parents[0] if proposal.parents else 0)
  value = parent.metric(context.objective.metric) if parent else None
  rounded = functools.partial(round, ndigits=6)
  effect = sum(edit.effect for edit in edits)
  uncertainty = math.hypot(*(edit.uncertainty for edit in edits))
  return Hypothesis(
    ' '.join(edit.claim for edit in edits),
    (*(tag for edit in edits for tag in edit.mechanisms), '; '.join(edit.key for edit in edits)),
    None if value is None else rounded(effect * abs(value)),
    None if value is None else rounded(uncertainty * abs(value)),
  )
