"""The offline proposer: one random edit of a constant or of the program's structure.

It needs no key, no network and no model. What can be edited is found in the program's syntax
tree (`edits/`); how often each edit is tried is data there. Trials that the strategy shows
(`proposal.context`) shift the odds: what was kept is tried again, what was discarded less often.
Moves that a question is about, one of a planner or the proposal's own, are tried more often too.

What a proposal asks for beyond an improvement, as far as the programs allow it (else the edit is
an ordinary one): a merge takes constants of the second parent; a repair puts a constant of the
failing program back to its own parent's value, or halfway; guidance `ablation` puts one back to the
start's, `tuning` moves constants only, `creative` changes structure only, `rewrite` makes two or
three edits at once.
"""

import ast
import collections
import dataclasses
import functools
import math
from collections.abc import Iterator, Mapping, Sequence

import libcst as cst
import numpy as np

from autoresearch_jax.programs.catalogue import Catalogue, packaged
from autoresearch_jax.programs.source import Source
from autoresearch_jax.programs.structural_edits import Kind, SourceEdit, available
from autoresearch_jax.proposers.base import PROPOSERS, NothingToPropose, ProposalContext, Proposer
from autoresearch_jax.proposers.mutate import constants, crossover
from autoresearch_jax.proposers.mutate.steps import Sizes
from autoresearch_jax.types import Decision, Edit, Hypothesis, Operation, Program, Proposal, Trial

# How the outcomes of one kind of edit change its odds. A step that was kept is worth another one
# the same way, the way back is not; a crash says more than a score that was not better.
KEPT, OPPOSITE, DISCARDED, CRASHED = 2.0, 0.5, 0.6, 0.4
LEAST, MOST = 0.1, 5.0
FURTHER_TRIES = 10  # draws for the second and third edit of a rewrite
RERUNS = (Operation.REPLICATE, Operation.PROMOTE)  # of an edit that an earlier trial made
OPPOSITES = {'up': 'down', 'down': 'up'}
# What a word of guidance leaves of the moves.
KINDS: dict[str, tuple[Kind, ...]] = {
  'tuning': ('constant', 'coupled'),
  'creative': ('structure',),
}


@PROPOSERS.register(
  'mutate',
  renamed_options={
    'smallest_factor': 'min_factor',
    'largest_factor': 'max_factor',
    'heed': 'question_weight',
    'tries': 'max_tries',
  },
)
@dataclasses.dataclass(frozen=True)
class Mutate(Proposer):
  """Makes random edits.

  Attributes:
    structural_share: Fraction of edits that change the structure.
    coupled_share: Fraction of edits that move several constants together. The rest are single
      constants. Kinds of edits that a program does not offer leave their share to the others.
    min_factor: Smallest factor that a scale is multiplied or divided by.
    max_factor: Largest such factor.
    learn: Whether the outcomes of the trials that the strategy shows change the odds of a move.
    question_weight: Factor for the odds of a move that a question is about; 1 ignores questions.
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
      raise ValueError(f'structural_share and coupled_share are {shares}; they must fit in [0, 1].')
    if not 1 < self.min_factor <= self.max_factor:
      raise ValueError(
        f'min_factor is {self.min_factor} and max_factor {self.max_factor}; '
        'it must be 1 < min_factor <= max_factor.'
      )
    if not 1 <= self.question_weight < math.inf:
      raise ValueError(f'question_weight is {self.question_weight}; it must be 1 or more.')

  def propose(self, proposal: Proposal, context: ProposalContext, rng: np.random.Generator) -> Edit:
    """A random edit that was not tried. Raises NothingToPropose."""
    for edit in crossover.borrowed(proposal, context, rng):
      if _is_new(edit.program, context):
        return edit
    offered = self._moves(context.parents[0], proposal, context)
    if not offered:
      raise NothingToPropose(
        f'None of {", ".join(context.editable)} has a constant in ALL_CAPS or a structure '
        'that the proposer mutate knows.'
      )
    odds = self._odds([move for _, move in offered], proposal, context)
    for _ in range(self.max_tries):
      name, move = offered[rng.choice(len(offered), p=odds)]
      made = _made(context.parents[0], name, move, rng)
      if made and proposal.guidance == 'rewrite':
        made = self._continued(made, proposal, context, rng)
      if made and _is_new(made.program, context):
        return made.edit(proposal, context)
    raise NothingToPropose(
      f'{self.max_tries} random edits gave no program that was not tried before '
      f'({len(context.tried)} were).'
    )

  def _continued(
    self, made: '_Made', proposal: Proposal, context: ProposalContext, rng: np.random.Generator
  ) -> '_Made':
    """With one or two further edits of other kinds, as far as the program offers them."""
    wanted = int(rng.integers(2, 4))
    for _ in range(FURTHER_TRIES):
      done = {move.key for move in made.moves}
      offered = [o for o in self._moves(made.program, proposal, context) if o[1].key not in done]
      if len(made.moves) == wanted or not offered:
        break
      odds = self._odds([move for _, move in offered], proposal, context)
      name, move = offered[rng.choice(len(offered), p=odds)]
      further = _made(made.program, name, move, rng)
      made = made.then(further) if further else made
    return made

  def _moves(
    self, program: Program, proposal: Proposal, context: ProposalContext
  ) -> list[tuple[str, SourceEdit]]:
    """(file, move) for all that the editable files offer, in the order of the files.

    Guidance leaves some out, unless none would be left.
    """
    sizes = Sizes(self.min_factor, self.max_factor)
    found = []
    for name, text in program.files:
      if name in context.editable and name.endswith('.py'):
        found += [(name, move) for move in _offered(text, sizes, context.structural_edits)]
    return [(n, m) for n, m in found if m.kind in KINDS.get(proposal.guidance, (m.kind,))] or found

  def _odds(
    self, moves: list[SourceEdit], proposal: Proposal, context: ProposalContext
  ) -> np.ndarray:
    """Probability of each move: its kind's share, divided by weights and by what was learnt."""
    learnt = _learnt(proposal, context) if self.learn else {}
    shares = {'structure': self.structural_share, 'coupled': self.coupled_share}
    shares['constant'] = 1 - sum(shares.values())
    weights = np.array([m.weight for m in moves])
    totals: dict[str, float] = collections.defaultdict(float)
    for move in moves:
      totals[move.kind] += move.weight
    share = np.array([shares[m.kind] / totals[m.kind] for m in moves])
    odds = weights * share * np.array([learnt.get(m.key, 1.0) for m in moves])
    odds *= np.where([_is_asked(m, proposal, context) for m in moves], self.question_weight, 1.0)
    if not odds.sum():  # the only kinds this program offers have no share
      odds = weights
    return odds / odds.sum()


@dataclasses.dataclass(frozen=True)
class _Made:
  """A program after one or more moves."""

  program: Program
  moves: tuple[SourceEdit, ...]
  descriptions: tuple[str, ...]

  def then(self, further: '_Made') -> '_Made':
    return _Made(
      further.program, self.moves + further.moves, self.descriptions + further.descriptions
    )

  def edit(self, proposal: Proposal, context: ProposalContext) -> Edit:
    return Edit(
      self.program, '; '.join(self.descriptions), _hypothesis(self.moves, proposal, context)
    )


@functools.lru_cache(maxsize=8)  # many edits are drawn for one program; finding them takes longest
def _offered(text: str, sizes: Sizes, own: Catalogue) -> tuple[SourceEdit, ...]:
  """All edits that apply to a file; none where it does not parse. own: see ProposalContext."""
  try:
    source = Source(text)
  except cst.ParserSyntaxError:
    return ()
  return (*constants.moves(source, sizes), *available(source, (*packaged(), *own)))


def _made(program: Program, name: str, move: SourceEdit, rng: np.random.Generator) -> _Made | None:
  """The program after a move; None where nothing valid comes of it."""
  rewrite = move.make(rng)
  if rewrite is None or not _parses(rewrite.text):
    return None
  return _Made(program.with_text(rewrite.text, name), (move,), (rewrite.description,))


def _is_new(program: Program, context: ProposalContext) -> bool:
  return program.digest not in context.tried and program.digest != context.parents[0].digest


def _parses(text: str) -> bool:
  try:
    ast.parse(text)
  except (SyntaxError, ValueError, RecursionError):
    return False
  return True


def _learnt(proposal: Proposal, context: ProposalContext) -> dict[str, float]:
  """Factors by key of a move, from the trials that are shown, oldest first."""
  factors: dict[str, float] = collections.defaultdict(lambda: 1.0)
  for key, decision in _outcomes(proposal, context):
    if decision is Decision.KEEP:
      factors[key] = max(1.0, factors[key]) * KEPT
      if (back := _opposite(key)) != key:  # a change of structure has none
        factors[back] *= OPPOSITE
    else:
      factors[key] *= DISCARDED if decision is Decision.DISCARD else CRASHED
  return {key: min(max(factor, LEAST), MOST) for key, factor in factors.items()}


def _outcomes(proposal: Proposal, context: ProposalContext) -> Iterator[tuple[str, Decision]]:
  """What became of each edit that is shown, once, be it shown as a replicate or a promotion."""
  seen: set[int] = set()
  for number in proposal.context:
    trial = context.history.get(number)
    made = _first(trial, context.history) if trial else None
    decision = _decision(trial, made, context) if trial and made and made.id not in seen else None
    if made is not None and decision is not None:
      seen.add(made.id)
      if key := _key(made.edit.hypothesis):
        yield key, decision


def _first(trial: Trial, history: Mapping[int, Trial]) -> Trial | None:
  """The trial that made the edit: itself, or what it repeats; None where that has no verdict."""
  found: Trial | None = trial
  while found and found.proposal.operation in RERUNS and found.proposal.parents:
    found = history.get(found.proposal.parents[0])
  return found


def _decision(trial: Trial, made: Trial, context: ProposalContext) -> Decision | None:
  """The verdict on the edit that `made` has; None while there is none.

  The trial that made an edit is not kept itself where it trained for a part of the budget, or
  where its gain had to be replicated first. Its own DISCARD then says nothing of the edit.
  """
  if trial.verdict is None:
    return None
  decision = trial.verdict.decision
  if made.id in context.kept or decision is Decision.KEEP:
    return Decision.KEEP
  early = trial.proposal.fidelity < 1 or {trial.id, made.id} & context.undecided
  return None if early and decision is Decision.DISCARD else decision


def _key(hypothesis: Hypothesis) -> str:
  """The key of the move behind a hypothesis, its last tag; '' for another proposer's."""
  return hypothesis.mechanisms[-1] if hypothesis.mechanisms else ''


def _is_asked(move: SourceEdit, proposal: Proposal, context: ProposalContext) -> bool:
  """Whether a question is about a move: by its tags, or in quotes in the strategy's sentence."""
  asked = any(move.key in question.tags for question in context.questions)
  return asked or f"'{move.key}'" in proposal.question


def _opposite(key: str) -> str:
  return ' '.join(OPPOSITES.get(word, word) for word in key.split(' '))


def _hypothesis(
  moves: Sequence[SourceEdit], proposal: Proposal, context: ProposalContext
) -> Hypothesis:
  """The moves' belief in the metric's unit, by the parent's value; unknown before it has one.

  Effects add up, and so do the squares of their deviations.
  """
  parent = context.history.get(proposal.parents[0] if proposal.parents else 0)
  value = parent.metric(context.objective.metric) if parent else None
  known = functools.partial(round, ndigits=6)
  effect = sum(move.effect for move in moves)
  uncertainty = math.hypot(*(move.uncertainty for move in moves))
  return Hypothesis(
    ' '.join(move.claim for move in moves),
    (*(tag for move in moves for tag in move.mechanisms), '; '.join(move.key for move in moves)),
    None if value is None else known(effect * abs(value)),
    None if value is None else known(uncertainty * abs(value)),
  )
