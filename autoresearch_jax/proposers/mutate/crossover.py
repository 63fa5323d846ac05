"""Edits that take constants from another program: for `merge`, `debug` and guidance `ablation`.

Two programs are compared constant by constant, in the editable files that both have and that parse.
Other differences between them are ignored.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import libcst as cst
import numpy as np

from autoresearch_jax.programs import strategy_parts
from autoresearch_jax.programs.source import Source
from autoresearch_jax.proposers.base import ProposalContext
from autoresearch_jax.types import Edit, Hypothesis, Operation, Program, Proposal

START = 0  # id of the trial of the unmodified program
DRAWS = 30  # random subsets of the differences that a merge considers


@dataclasses.dataclass(frozen=True)
class Difference:
  """A constant and the value that it is to get.

  Attributes:
    file: The file that has it.
    name: Its name.
    value: Its value in the program to edit.
    other: The value to set: the other program's, or one halfway to it.
  """

  file: str
  name: str
  value: Any
  other: Any

  def __str__(self) -> str:
    return f'{self.name} {self.value!r} -> {self.other!r}'


def crossover_edits(
  proposal: Proposal, context: ProposalContext, rng: np.random.Generator
) -> Iterator[Edit]:
  """Yields the edits for a merge, a debug or an ablation in random order, else nothing.

  A merge takes constants of the second parent, or functions where both are search strategies. A
  debug edit restores one constant to the value of the failing program's parent or of the start
  program, or halfway. An ablation restores one constant to the start program's value.
  """
  program, history = context.parents[0], context.history
  if proposal.operation is Operation.MERGE and len(context.parents) > 1:
    other = proposal.parents[1]
    yield from _part_edits(program, context, other, rng)
    claim = f'Constants that helped trial {other} help this program too.'
    for chosen in random_subsets(differences(program, context.parents[1], context.editable), rng):
      yield _edit(program, chosen, f'merge, from trial {other}', claim)
  elif proposal.operation is Operation.DEBUG:
    for other in _ancestors(proposal, context):
      found = differences(program, history[other].edit.program, context.editable)
      claim = f'Trial {other} lacked this change, which may cause the failure.'
      for chosen in (*_one_each(found, rng), *_one_each(_halfway(found), rng)):
        yield _edit(program, chosen, f'debug, towards trial {other}', claim)
  elif proposal.guidance == 'ablation' and START in history:
    found = differences(program, history[START].edit.program, context.editable)
    for chosen in _one_each(found, rng):
      yield _edit(program, chosen, 'ablation, as at the start', 'This change does not help.')


def _part_edits(
  program: Program, context: ProposalContext, other: int, rng: np.random.Generator
) -> Iterator[Edit]:
  """Yields edits that take functions of the second parent, for search strategies."""
  texts = dict(context.parents[1].files)
  for file, text in program.files:
    if file in context.editable and file in texts:
      for merged, taken in strategy_parts.merged(text, texts[file], rng):
        claim = f'What helped trial {other} helps this strategy too.'
        words = f'merge, from trial {other}: {", ".join(taken)}'
        yield Edit(program.with_text(merged, file), words, Hypothesis(claim, ('merge',)))


def differences(program: Program, other: Program, editable: Sequence[str]) -> list[Difference]:
  """Returns the constants of `program` with other values in `other`, in the order of the text."""
  texts, found = dict(other.files), []
  for file, text in program.files:
    if file in editable and file in texts and file.endswith('.py'):
      mine, theirs = _constants(text), _constants(texts[file])
      found += [
        Difference(file, name, mine[name], theirs[name])
        for name in mine
        if name in theirs and repr(mine[name]) != repr(theirs[name])
      ]
  return found


def random_subsets(found: list[Difference], rng: np.random.Generator) -> Iterator[list[Difference]]:
  """Yields distinct, non-empty subsets; each difference is in one with probability 1/2."""
  seen = set()
  for _ in range(DRAWS if found else 0):
    taken = rng.random(len(found)) < 0.5
    if not taken.any():
      taken[rng.integers(len(found))] = True
    if taken.tobytes() not in seen:
      seen.add(taken.tobytes())
      yield [difference for difference, take in zip(found, taken, strict=True) if take]


def _one_each(found: list[Difference], rng: np.random.Generator) -> list[list[Difference]]:
  """Returns subsets of one difference each, in random order."""
  return [[found[place]] for place in rng.permutation(len(found))]


def _halfway(found: list[Difference]) -> list[Difference]:
  """Returns the numbers among the differences with a target halfway to the other value."""
  middles = ((d, _middle(d.value, d.other)) for d in found)
  return [dataclasses.replace(d, other=middle) for d, middle in middles if middle is not None]


def _middle(value: Any, other: Any) -> Any:
  """Returns a number strictly between two, None if there is none; ints stay ints."""
  if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in (value, other)):
    return None
  middle = float(f'{(value + other) / 2:.3g}')
  if isinstance(value, int) and isinstance(other, int):
    middle = round(middle)
  return middle if min(value, other) < middle < max(value, other) else None


def _edit(program: Program, chosen: list[Difference], how: str, claim: str) -> Edit:
  for file in dict.fromkeys(d.file for d in chosen):
    values = {d.name: d.other for d in chosen if d.file == file}
    program = program.with_text(Source(program.text(file)).with_constants(values), file)
  words = ', '.join(map(str, chosen))
  return Edit(program, f'{how}: {words}', Hypothesis(claim, (how.split(',', maxsplit=1)[0],)))


def _ancestors(proposal: Proposal, context: ProposalContext) -> list[int]:
  """Returns the ids of the failing trial's parent and of the start, if they have finished."""
  failing = context.history.get(proposal.parents[0]) if proposal.parents else None
  parents = failing.proposal.parents[:1] if failing else ()
  return [trial for trial in dict.fromkeys((*parents, START)) if trial in context.history]


def _constants(text: str) -> dict[str, Any]:
  try:
    return Source(text).constants
  except cst.ParserSyntaxError:
    return {}
