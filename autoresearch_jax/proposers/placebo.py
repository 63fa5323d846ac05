"""Proposes edits without a real effect, to measure how many of them a run keeps: an A/A test.

Source: Kohavi, Longbotham, Sommerfield and Henne, "Controlled Experiments on the Web", 2009
(https://doi.org/10.1007/s10618-008-0114-1): before a system of comparisons is trusted, it should
compare a thing with itself. Every keep of such a run is a false one. `aa_night.py` among the
studies uses it; it also measures the noise of a machine or a problem.

A real edit that neither helps nor harms still leads to another score, since the slightest change
sends training down another path. A placebo therefore changes the initialization: the key that
`init` gets is folded with a number, while the order of the data stays that of the trial's seed.
Without `reseed` the program computes exactly what its parent does. Then `config.search` must allow
duplicates, and scores differ only by what the machine does.
"""

import ast
import dataclasses

import numpy as np

from autoresearch_jax.proposers.base import (
  PROPOSERS,
  NothingToPropose,
  ProposalContext,
  Proposer,
)
from autoresearch_jax.types import Edit, Hypothesis, Program, Proposal

NUMBERS = 2**31  # placebos are numbered below this
_MARK = '\n\n\n# Other random numbers: '  # starts what the next placebo removes again
_RESEEDED = """import jax as _jax

_drawn = init


def init(key, spec):
  return _drawn(_jax.random.fold_in(key, {number}), spec)
"""


@PROPOSERS.register('placebo')
@dataclasses.dataclass(frozen=True)
class Placebo(Proposer):
  """Edits without a real effect.

  Attributes:
    reseed: Whether the program is initialized from another random key. If not, the edit is a
      comment.
  """

  reseed: bool = True

  def propose(self, proposal: Proposal, context: ProposalContext, rng: np.random.Generator) -> Edit:
    """Returns the parent with a numbered placebo.

    Raises:
      NothingToPropose: The entry file is not editable, or lacks `init` or `train_step`.
    """
    del proposal
    parent = context.parents[0]
    if parent.entry not in context.editable or not defines_training(parent.text()):
      raise NothingToPropose(
        f'No placebo for {parent.entry}: it must be editable and define init and train_step.'
      )
    number = int(rng.integers(NUMBERS))
    what = 'another random key for init' if self.reseed else 'a comment'
    claim = f'With {what} the program trains as well as before, apart from noise.'
    hypothesis = Hypothesis(claim, predicted_effect=0.0)
    program = with_placebo(parent, number, self.reseed)
    return Edit(program, f'placebo {number}: {what}', hypothesis)


def with_placebo(program: Program, number: int, reseed: bool = True) -> Program:
  """Returns the program with a numbered placebo, which replaces an earlier one if it reseeds."""
  if not reseed:
    return program.with_text(f'{program.text()}\n# Placebo {number}.\n')
  text = program.text().partition(_MARK)[0].rstrip('\n')
  return program.with_text(f'{text}{_MARK}{number}.\n{_RESEEDED.format(number=number)}')


def defines_training(text: str) -> bool:
  """Returns whether a source file defines `init` and `train_step`."""
  try:
    body = ast.parse(text).body
  except (SyntaxError, ValueError):
    return False
  return {'init', 'train_step'} <= {n.name for n in body if isinstance(n, ast.FunctionDef)}
