"""The offline proposer: one random edit of a constant or of the program's structure.

It needs no key, no network and no model. What can be edited is found in the program's syntax
tree (`edits/`); how often each edit is tried is data there. Trials that the strategy shows
(`proposal.context`) shift the odds: what was kept is tried again, what was discarded less often.
"""

import ast
import collections
import dataclasses
import functools

import libcst as cst
import numpy as np

from autoresearch_jax.proposers import PROPOSERS, Context, NothingToPropose
from autoresearch_jax.proposers.edits import Move, Rewrite, Sizes, constants, structure
from autoresearch_jax.proposers.edits.catalogue import CATALOGUE
from autoresearch_jax.proposers.edits.source import Source
from autoresearch_jax.types import Decision, Edit, Hypothesis, Program, Proposal

# How the outcomes of one kind of edit change its odds. A step that was kept is worth another one
# the same way, the way back is not; a crash says more than a score that was not better.
KEPT, OPPOSITE, DISCARDED, CRASHED = 2.0, 0.5, 0.6, 0.4
LEAST, MOST = 0.1, 5.0
OPPOSITES = {'up': 'down', 'down': 'up'}


@PROPOSERS.register('mutate')
@dataclasses.dataclass(frozen=True)
class Mutate:
  """The options of `config.proposer_options`.

  structural_share, coupled_share: of the edits, the rest are single constants (where a program
  has no edit of a kind, the others share). smallest_factor, largest_factor: by which scales move.
  learn: whether trials that are shown change the odds. tries: draws before giving up.
  """

  structural_share: float = 0.25
  coupled_share: float = 0.25
  smallest_factor: float = 1.15
  largest_factor: float = 3.0
  learn: bool = True
  tries: int = 200

  def __post_init__(self) -> None:
    shares = (self.structural_share, self.coupled_share)
    if min(shares) < 0 or sum(shares) > 1:
      raise ValueError(f'structural_share and coupled_share are {shares}; they must fit in [0, 1].')
    if not 1 < self.smallest_factor <= self.largest_factor:
      raise ValueError(
        f'smallest_factor is {self.smallest_factor} and largest_factor {self.largest_factor}; '
        'it must be 1 < smallest_factor <= largest_factor.'
      )

  def propose(self, proposal: Proposal, context: Context, rng: np.random.Generator) -> Edit:
    """A random edit that was not tried. Raises NothingToPropose."""
    program = context.parents[0]
    offered = self._moves(program, context)
    if not offered:
      raise NothingToPropose(
        f'None of {", ".join(context.editable)} has a constant in ALL_CAPS or a structure '
        'that the proposer mutate knows.'
      )
    odds = self._odds([move for _, move in offered], proposal, context)
    for _ in range(self.tries):
      name, move = offered[rng.choice(len(offered), p=odds)]
      rewrite = move.make(rng)
      changed = None if rewrite is None else program.with_text(rewrite.text, name)
      if rewrite and changed and self._is_new(changed, program, rewrite, context):
        return Edit(changed, rewrite.description, _hypothesis(move, proposal, context))
    raise NothingToPropose(
      f'{self.tries} random edits gave no program that was not tried before '
      f'({len(context.tried)} were).'
    )

  def _moves(self, program: Program, context: Context) -> list[tuple[str, Move]]:
    """(file, move) for all that the editable files offer, in the order of the files."""
    sizes = Sizes(self.smallest_factor, self.largest_factor)
    found = []
    for name, text in program.files:
      if name in context.editable and name.endswith('.py'):
        try:
          source = Source(text)
        except cst.ParserSyntaxError:
          continue  # a broken file is not this proposer's to mend
        found += [
          (name, m) for m in (*constants.moves(source, sizes), *structure.moves(source, CATALOGUE))
        ]
    return found

  def _odds(self, moves: list[Move], proposal: Proposal, context: Context) -> np.ndarray:
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
    if not odds.sum():  # the only kinds this program offers have no share
      odds = weights
    return odds / odds.sum()

  def _is_new(self, changed: Program, program: Program, rewrite: Rewrite, context: Context) -> bool:
    tried = changed.digest in context.tried or changed.digest == program.digest
    return not tried and _parses(rewrite.text)


def _parses(text: str) -> bool:
  try:
    ast.parse(text)
  except (SyntaxError, ValueError, RecursionError):
    return False
  return True


def _learnt(proposal: Proposal, context: Context) -> dict[str, float]:
  """Factors by key of a move, from the trials that are shown, oldest first."""
  factors: dict[str, float] = collections.defaultdict(lambda: 1.0)
  for number in proposal.context:
    trial = context.history.get(number)
    key = _key(trial.edit.hypothesis) if trial else ''
    if not key or trial is None or trial.verdict is None:
      continue
    if trial.verdict.decision is Decision.KEEP:
      factors[key] = max(1.0, factors[key]) * KEPT
      factors[_opposite(key)] *= OPPOSITE
    else:
      factors[key] *= DISCARDED if trial.verdict.decision is Decision.DISCARD else CRASHED
  return {key: min(max(factor, LEAST), MOST) for key, factor in factors.items()}


def _key(hypothesis: Hypothesis) -> str:
  """The key of the move behind a hypothesis, its last tag; '' for another proposer's."""
  return hypothesis.mechanisms[-1] if hypothesis.mechanisms else ''


def _opposite(key: str) -> str:
  return ' '.join(OPPOSITES.get(word, word) for word in key.split(' '))


def _hypothesis(move: Move, proposal: Proposal, context: Context) -> Hypothesis:
  """The move's belief in the metric's unit, by the parent's value; unknown before it has one."""
  parent = context.history.get(proposal.parents[0] if proposal.parents else 0)
  value = parent.metric(context.objective.metric) if parent else None
  known = functools.partial(round, ndigits=6)
  return Hypothesis(
    move.claim,
    (*move.mechanisms, move.key),
    None if value is None else known(move.effect * abs(value)),
    None if value is None else known(move.uncertainty * abs(value)),
  )
