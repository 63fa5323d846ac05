"""Lists the edits of constants that apply to a program file, and describes them in one line."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from autoresearch_jax.programs.source import Source
from autoresearch_jax.programs.structural_edits import Rewrite, SourceEdit
from autoresearch_jax.proposers.mutate.constant_rules import rule_for
from autoresearch_jax.proposers.mutate.coupled_constants import (
  COUPLED_CHANGES,
  CoupledChange,
  width_is_tied,
)
from autoresearch_jax.proposers.mutate.steps import FactorRange


def constant_edits(source: Source, factors: FactorRange) -> list[SourceEdit]:
  """Returns all edits of single constants, then those of several, that apply to this file."""
  constants = source.constants
  tied = width_is_tied(constants)
  single = [
    edit
    for name, value in constants.items()
    if not (tied and name == 'ASPECT_RATIO')
    for edit in _single(source, name, value, factors)
  ]
  return [*single, *_coupled(source, factors)]


def _single(source: Source, name: str, value: Any, factors: FactorRange) -> Iterator[SourceEdit]:
  rule = rule_for(name)
  if rule.needs and not source.constants.get(rule.needs, 1):
    return
  for sign, direction in ((1, rule.up), (-1, rule.down)):
    if direction.weight:

      def make(rng: np.random.Generator, sign: int = sign) -> Rewrite | None:
        new = rule.step(value, sign, rng, factors)
        if new is None or _same_windows(name, value, new, source.constants):
          return None
        return Rewrite(source.with_constants({name: new}), describe(name, value, new))

      yield SourceEdit(
        f'{name} {"up" if sign > 0 else "down"}',
        'constant',
        direction.weight,
        direction.claim,
        rule.mechanisms,
        *rule.effect,
        make,
      )


def _coupled(source: Source, factors: FactorRange) -> Iterator[SourceEdit]:
  for change in COUPLED_CHANGES:
    if change.draw(source.constants, np.random.default_rng(0), factors) is None:
      continue  # does not apply to this file

    def make(rng: np.random.Generator, change: CoupledChange = change) -> Rewrite | None:
      values = change.draw(source.constants, rng, factors)
      if values is None or all(source.constants[n] == v for n, v in values.items()):
        return None
      changed = {n: f'{_short(source.constants[n])} -> {_short(v)}' for n, v in values.items()}
      every = ', '.join(f'{n} {c}' for n, c in changed.items())
      return Rewrite(source.with_constants(values), change.description.format(every, **changed))

    yield SourceEdit(
      change.key,
      'coupled',
      change.weight,
      change.claim,
      change.mechanisms,
      *change.effect,
      make,
    )


def describe(name: str, old: Any, new: Any) -> str:
  """Describes a new value, for instance `halve BATCH_SIZE 32 -> 16`."""
  if isinstance(old, tuple) and len(new) < len(old):
    return f'shorten {name} to its first {len(new)} of {len(old)}'
  return f'{_verb(old, new)} {name} {_short(old)} -> {_short(new)}'


def _verb(old: Any, new: Any) -> str:
  if isinstance(old, bool) or not isinstance(old, int | float):
    return 'set'
  if old and new == 2 * old:
    return 'double'
  if old and new == old / 2:
    return 'halve'
  return 'raise' if new > old else 'lower'


def _short(value: Any) -> str:
  return repr(value).replace("'", '') if isinstance(value, str) else f'{value}'


def _same_windows(name: str, old: Any, new: Any, constants: Mapping[str, Any]) -> bool:
  """Whether two window patterns give all layers the same windows.

  The last layer always has the full context, so the pattern does not affect it.
  """
  depth = constants.get('DEPTH')
  if not name.endswith('WINDOW_PATTERN') or not isinstance(depth, int):
    return False
  layers = range(depth - 1)
  return all(old[i % len(old)] == new[i % len(new)] for i in layers)
