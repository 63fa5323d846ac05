"""Proposes edits without effect, to measure what a run keeps of them: an A/A test.

Source: Kohavi, Longbotham, Sommerfield and Henne, "Controlled Experiments on the Web", 2009
(https://doi.org/10.1007/s10618-008-0114-1), who have every system of comparisons compare a thing
with itself before it is trusted. Used by `scripts/studies/acceptance/aa_night.py`, and by whoever
wants to know the noise of a machine or a problem: every keep of such a run is a false one.

Most edits that neither help nor harm still train to another score, for the least change sends
training down another path. So a placebo starts the program from other random numbers: what `init`
gets as its key is folded with a number. The order of the data stays that of the trial's seed. Where
`redraw` is off the program computes the very same as its parent; then the run needs
`config.search.allow_duplicates`, and scores differ by what the machine does alone.
"""

import ast
import dataclasses

import numpy as np

from autoresearch_jax.proposers.base import PROPOSERS, NothingToPropose, ProposalContext, Proposer
from autoresearch_jax.types import Edit, Hypothesis, Program, Proposal

NUMBERS = 2**31  # to draw from
_MARK = '\n\n\n# Other random numbers: '  # begins what the next placebo takes away again
_REDRAWN = """import jax as _jax

_drawn = init


def init(key, spec):
  return _drawn(_jax.random.fold_in(key, {number}), spec)
"""


@PROPOSERS.register('placebo')
@dataclasses.dataclass(frozen=True)
class Placebo(Proposer):
  """redraw: whether the program starts from other random numbers; else it gets a comment."""

  redraw: bool = True

  def propose(self, proposal: Proposal, context: ProposalContext, rng: np.random.Generator) -> Edit:
    """The parent, numbered. Raises NothingToPropose where its entry is not to be edited."""
    del proposal
    parent = context.parents[0]
    if parent.entry not in context.editable or not _defines_training(parent.text()):
      raise NothingToPropose(
        f'{parent.entry} gets no placebo: it must be editable and define init and train_step.'
      )
    number = int(rng.integers(NUMBERS))
    what = 'other random numbers at the start' if self.redraw else 'a comment'
    claim = f'With {what} the program trains as well as before, but for luck.'
    hypothesis = Hypothesis(claim, predicted_effect=0.0)
    return Edit(numbered(parent, number, self.redraw), f'placebo {number}: {what}', hypothesis)


def numbered(program: Program, number: int, redraw: bool = True) -> Program:
  """The program with this placebo; random numbers that an earlier one chose are chosen anew."""
  if not redraw:
    return program.with_text(f'{program.text()}\n# Placebo {number}.\n')
  text = program.text().partition(_MARK)[0].rstrip('\n')
  return program.with_text(f'{text}{_MARK}{number}.\n{_REDRAWN.format(number=number)}')


def _defines_training(text: str) -> bool:
  try:
    body = ast.parse(text).body
  except (SyntaxError, ValueError):
    return False
  return {'init', 'train_step'} <= {n.name for n in body if isinstance(n, ast.FunctionDef)}
