"""Structural edits of a program, described as data, and how they are found and applied.

`Alternatives` lists expressions for one place: if one of them is there, each of the others is a
possible edit. A `Toggle` is a set of lines and replacements that are applied or undone together.
Both match syntax trees, not layout, and yield nothing for a program without a match. Each program's
folder lists its edits in `edits.py`, and `catalogue` collects them for the proposer `mutate`.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import libcst as cst
import numpy as np

from autoresearch_jax.programs.source import (
  Scope,
  Source,
  assignment,
  code_of,
  expressions,
  pattern,
  returned,
  statements,
)

Kind = Literal['constant', 'coupled', 'structure']
NodeChange = tuple[cst.CSTNode, Any]


@dataclasses.dataclass(frozen=True)
class Rewrite:
  """A file after an edit.

  Attributes:
    text: The file's new text.
    description: One line that says what changed.
  """

  text: str
  description: str


@dataclasses.dataclass(frozen=True)
class SourceEdit:
  """One edit that applies to a file.

  Attributes:
    key: Identifies the edit and its direction, for every step size.
    kind: One constant, several coupled constants, or structure.
    weight: Relative probability among the edits of its kind.
    claim: The hypothesis, a sentence.
    mechanisms: Tags of the hypothesis.
    effect: Expected gain, as a fraction of the metric.
    uncertainty: Standard deviation of that expectation, as a fraction of the metric.
    make: Draws the details and applies the edit; returns None if it changes nothing.
  """

  key: str
  kind: Kind
  weight: float
  claim: str
  mechanisms: tuple[str, ...]
  effect: float
  uncertainty: float
  make: Callable[[np.random.Generator], Rewrite | None]


@dataclasses.dataclass(frozen=True)
class EditPrior:
  """What is expected of an edit before it is tried.

  Attributes:
    mechanisms: Tags of the hypothesis.
    weight: Relative probability among structural edits.
    effect: Mean and standard deviation of the expected gain, as fractions of the metric.
  """

  mechanisms: tuple[str, ...]
  weight: float = 1.0
  effect: tuple[float, float] = (0.0, 0.01)


@dataclasses.dataclass(frozen=True)
class Alternative:
  """One of several expressions.

  Attributes:
    code: The expression.
    words: A short name for descriptions.
    claim: The hypothesis of choosing it, a sentence.
    weight: Relative probability.
  """

  code: str
  words: str
  claim: str
  weight: float = 1.0


@dataclasses.dataclass(frozen=True)
class Alternatives:
  """Expressions of which one is at some place of a program.

  Attributes:
    key: Name of the place, for descriptions.
    scope: Dotted path of the function or class.
    site: `return` for a returned value, `TARGET =` for the value assigned to a target, or '' for
      any expression in the scope; the outermost match counts.
    options: The expressions.
    prior: What is expected of an edit.
    needs: Constants that must not be 0, since the expression has no effect otherwise.
  """

  key: str
  scope: str
  site: str
  options: tuple[Alternative, ...]
  prior: EditPrior
  needs: tuple[str, ...] = ()

  def source_edits(self, source: Source) -> Iterator[SourceEdit]:
    scope = source.scope(self.scope)
    if scope is None or not all(source.constants.get(n, 0) for n in self.needs):
      return
    found = self._find(scope)
    if found is None:
      return
    node, current = found
    for option in self.options:
      if option is not current and source.knows(scope, option.code):
        yield self._source_edit(source, scope, node, current, option)

  def _find(self, scope: Scope) -> tuple[cst.BaseExpression, Alternative] | None:
    for node in _candidates(scope, self.site):
      for option in self.options:
        if pattern(option.code).matches(node):
          return node, option
    return None

  def _source_edit(
    self,
    source: Source,
    scope: Scope,
    node: cst.BaseExpression,
    current: Alternative,
    new: Alternative,
  ) -> SourceEdit:
    def make(rng: np.random.Generator) -> Rewrite:
      del rng
      changes = [(node, cst.parse_expression(new.code)), *self._docstring(scope, new)]
      return Rewrite(source.replaced(changes), f'{self.key}: {current.words} -> {new.words}')

    prior = self.prior
    return SourceEdit(
      f'{self.key} {new.words}',
      'structure',
      prior.weight * new.weight,
      new.claim,
      prior.mechanisms,
      *prior.effect,
      make,
    )

  def _docstring(self, scope: Scope, new: Alternative) -> list[NodeChange]:
    """Updates the docstring of a function that consists of this expression only."""
    body = scope.body.body
    if self.site != 'return' or len(body) != 2 or not isinstance(body[0], cst.SimpleStatementLine):
      return []
    only = body[0].body[0]
    if not isinstance(only, cst.Expr) or not isinstance(only.value, cst.SimpleString):
      return []
    words = f'{self.key[:1].upper()}{self.key[1:]}: {new.words}'
    return [(only.value, cst.SimpleString(f'"""{words}."""'))]


@dataclasses.dataclass(frozen=True)
class InsertedLine:
  """An assignment that a toggle inserts.

  Attributes:
    scope: Dotted path of the function.
    after: Target of the assignment to insert it after, the last one if there are several.
    code: The line.
  """

  scope: str
  after: str
  code: str


@dataclasses.dataclass(frozen=True)
class Replacement:
  """An expression that a toggle replaces.

  Attributes:
    scope: Dotted path of the function or class.
    off: The expression while the toggle is off.
    on: The expression while it is on.
    site: As in `Alternatives`.
  """

  scope: str
  off: str
  on: str
  site: str = ''


@dataclasses.dataclass(frozen=True)
class Toggle:
  """Insertions and replacements that are applied or undone together.

  Attributes:
    key: Name of the toggle, for descriptions.
    parts: The insertions and replacements.
    claim: The hypothesis of switching it on.
    without: The hypothesis of switching it off.
    prior: What is expected of an edit. Switching off has half of the weight.
    values: Int constants to multiply when it is switched on, with their factors.
  """

  key: str
  parts: tuple[InsertedLine | Replacement, ...]
  claim: str
  without: str
  prior: EditPrior
  values: tuple[tuple[str, float], ...] = ()

  def source_edits(self, source: Source) -> Iterator[SourceEdit]:
    for on in (True, False):
      changes = self._changes(source, on)
      if changes is None:
        continue

      def make(
        rng: np.random.Generator, on: bool = on, changes: list[NodeChange] = changes
      ) -> Rewrite | None:
        del rng
        text = self._with_values(source.replaced(changes), on)
        return Rewrite(text, f'{"add" if on else "remove"} {self.key}') if text else None

      prior = self.prior
      yield SourceEdit(
        f'{self.key} {"up" if on else "down"}',
        'structure',
        prior.weight if on else prior.weight / 2,
        self.claim if on else self.without,
        prior.mechanisms,
        *prior.effect,
        make,
      )

  def _changes(self, source: Source, on: bool) -> list[NodeChange] | None:
    """Returns the changes that switch the toggle; None if a part does not match."""
    found: list[NodeChange] = []
    for part in self.parts:
      scope = source.scope(part.scope)
      if scope is None:
        return None
      change = (
        _insertion(scope, part, on)
        if isinstance(part, InsertedLine)
        else _replacement(scope, part, on)
      )
      new = part.code if isinstance(part, InsertedLine) else (part.on if on else part.off)
      if change is None or (on and not source.knows(scope, new)):
        return None
      found.append(change)
    places = [id(node) for node, _ in found]
    return found if len(places) == len(set(places)) else None

  def _with_values(self, text: str, on: bool) -> str | None:
    if not self.values:
      return text
    source, values = Source(text), {}
    for name, factor in self.values:
      old = source.constants.get(name)
      if not isinstance(old, int):
        return None
      values[name] = max(1, round(old * (factor if on else 1 / factor)))
    return source.with_constants(values)


def available(source: Source, catalogue: Sequence[Alternatives | Toggle]) -> list[SourceEdit]:
  """Returns all edits of a catalogue that apply to this file."""
  return [edit for entry in catalogue for edit in entry.source_edits(source)]


def _candidates(scope: Scope, site: str) -> Iterator[cst.BaseExpression]:
  if not site:
    yield from expressions(scope.body)
    return
  target = site.removesuffix('=').strip()
  for statement in statements(scope):
    if site == 'return':
      value = returned(statement)
      if value is not None:
        yield value
    else:
      pair = assignment(statement)
      if pair and pair[0] == target:
        yield pair[1]


def _insertion(scope: Scope, part: InsertedLine, on: bool) -> NodeChange | None:
  """Inserts the line after its assignment, or removes it; None if there is no place or no line."""
  new = cst.parse_statement(part.code)
  present = [s for s in statements(scope) if _same_assignment(s, new)]
  if on:
    after = [s for s in statements(scope) if (assignment(s) or ('',))[0] == part.after]
    if present or not after:
      return None
    return after[-1], cst.FlattenSentinel([after[-1], new])
  return (present[0], cst.RemoveFromParent()) if len(present) == 1 else None


def _same_assignment(one: cst.CSTNode, other: cst.CSTNode) -> bool:
  """Whether two lines assign the same expression to the same target."""
  first, second = assignment(one), assignment(other)
  if first is None or second is None or first[0] != second[0]:
    return False
  return pattern(code_of(second[1])).matches(first[1])


def _replacement(scope: Scope, part: Replacement, on: bool) -> NodeChange | None:
  old, new = (part.off, part.on) if on else (part.on, part.off)
  if on and _first(scope, part.site, part.on) is not None:
    return None  # switched on already: `off` may be a part of `on`
  node = _first(scope, part.site, old)
  return None if node is None else (node, cst.parse_expression(new))


def _first(scope: Scope, site: str, code: str) -> cst.BaseExpression | None:
  wanted = pattern(code)
  return next((node for node in _candidates(scope, site) if wanted.matches(node)), None)
