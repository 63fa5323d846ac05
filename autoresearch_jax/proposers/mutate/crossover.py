"""Constants of another program: crossed in by a merge, put back by a repair or an ablation.

Two programs are compared constant by constant, in the editable files that both have and that
parse; what else differs between them stays with the program that is edited.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import libcst as cst
import numpy as np

from autoresearch_jax.programs.source import Source
from autoresearch_jax.proposers.base import ProposalContext
from autoresearch_jax.types import Edit, Hypothesis, Operation, Program, Proposal

START = 0  # id of the trial of the unmodified program
DRAWS = 30  # subsets of the differences that a cross looks at


@dataclasses.dataclass(frozen=True)
class Difference:
  """A constant that has another value in the other program, or is to get one."""

  file: str
  name: str
  value: Any
  other: Any

  def __str__(self) -> str:
    return f'{self.name} {self.value!r} -> {self.other!r}'


def borrowed(
  proposal: Proposal, context: ProposalContext, rng: np.random.Generator
) -> Iterator[Edit]:
  """The edits of this kind that the proposal asks for, in random order; mostly there are none.

  A merge takes constants of the second parent. A repair puts one back to what the failing
  program's own parent had, or the start, or halfway. An ablation puts one back to the start's.
  """
  program, history = context.parents[0], context.history
  if proposal.operation is Operation.MERGE and len(context.parents) > 1:
    other = proposal.parents[1]
    claim = f'What helped trial {other} helps this program too.'
    for chosen in crossed(differences(program, context.parents[1], context.editable), rng):
      yield _edit(program, chosen, f'merge, from trial {other}', claim)
  elif proposal.operation is Operation.DEBUG:
    for other in _ancestors(proposal, context):
      found = differences(program, history[other].edit.program, context.editable)
      claim = f'Trial {other} did without this change, which may be what fails.'
      for chosen in (*_singly(found, rng), *_singly(_halved(found), rng)):
        yield _edit(program, chosen, f'debug, towards trial {other}', claim)
  elif proposal.guidance == 'ablation' and START in history:
    found = differences(program, history[START].edit.program, context.editable)
    for chosen in _singly(found, rng):
      yield _edit(program, chosen, 'ablation, as at the start', 'This change is not what helped.')


def differences(program: Program, other: Program, editable: Sequence[str]) -> list[Difference]:
  """In the order of the files and, within one, of the program's lines."""
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


def crossed(found: list[Difference], rng: np.random.Generator) -> Iterator[list[Difference]]:
  """Subsets that have each difference with probability one half, and at least one; none twice."""
  seen = set()
  for _ in range(DRAWS if found else 0):
    taken = rng.random(len(found)) < 0.5
    if not taken.any():
      taken[rng.integers(len(found))] = True
    if taken.tobytes() not in seen:
      seen.add(taken.tobytes())
      yield [difference for difference, take in zip(found, taken, strict=True) if take]


def _singly(found: list[Difference], rng: np.random.Generator) -> list[list[Difference]]:
  return [[found[place]] for place in rng.permutation(len(found))]


def _halved(found: list[Difference]) -> list[Difference]:
  """The numbers among them, to move to the middle instead of all the way."""
  halved = ((d, _middle(d.value, d.other)) for d in found)
  return [dataclasses.replace(d, other=middle) for d, middle in halved if middle is not None]


def _middle(value: Any, other: Any) -> Any:
  """A number strictly between two, None where there is none; ints stay ints."""
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
  """The failing trial's own parent and the start, as far as they are known."""
  failing = context.history.get(proposal.parents[0]) if proposal.parents else None
  parents = failing.proposal.parents[:1] if failing else ()
  return [trial for trial in dict.fromkeys((*parents, START)) if trial in context.history]


def _constants(text: str) -> dict[str, Any]:
  try:
    return Source(text).constants
  except cst.ParserSyntaxError:
    return {}
