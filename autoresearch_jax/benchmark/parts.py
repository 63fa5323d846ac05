"""The parts that `compare` takes, by name, pair, object or class, as specs.

Objects and classes become (name, options) pairs, since a run is plain data that any process can
simulate. A class without a registered name is registered under its own.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from autoresearch_jax.acceptance import ACCEPTANCE, AcceptanceRule
from autoresearch_jax.benchmark.runners.specs import Entrant, Options, ProblemSpec
from autoresearch_jax.benchmark.simulations import SIMULATIONS, Simulation
from autoresearch_jax.registry import Registry
from autoresearch_jax.search import STRATEGIES, Strategy

# A registered name, a name and options, or an object or class of the part's kind.
Part = str | tuple[str, Options] | Strategy | Simulation | AcceptanceRule | type
KINDS: tuple[tuple[type, Registry], ...] = (
  (Strategy, STRATEGIES), (Simulation, SIMULATIONS), (AcceptanceRule, ACCEPTANCE),
)  # fmt: skip

_registered_here: set[type] = set()  # other processes do not find these by name


class BenchmarkError(ValueError):
  """A benchmark is misconfigured; the message says how."""


def problem_specs(problems: Any, acceptance: Part) -> tuple[ProblemSpec, ...]:
  """Returns the specs of problems under one acceptance rule. Raises BenchmarkError."""
  rule, options = _pair(acceptance, 'acceptance')
  return tuple(
    row if isinstance(row, ProblemSpec)
    else ProblemSpec(label, *_pair(row, 'problems'), '', rule, options)
    for label, row in _labelled(problems, 'problems')
  )  # fmt: skip


def entrants(strategies: Any) -> tuple[Entrant, ...]:
  """Returns the specs of strategies. Raises BenchmarkError."""
  return tuple(
    row if isinstance(row, Entrant) else Entrant(label, *_pair(row, 'strategies'))
    for label, row in _labelled(strategies, 'strategies')
  )


def has_unregistered(*parts: Any) -> bool:
  """Whether a part, or one in a list or mapping, is an object or class that no module registers."""
  return any(
    issubclass(kind, base) and (kind in _registered_here or not registry.names_of(kind))
    for part in parts
    for one in (part.values() if isinstance(part, Mapping) else _listed(part))
    for kind in (one if isinstance(one, type) else type(one),)
    for base, registry in KINDS
  )


def _listed(part: Any) -> Iterable[Any]:
  return part if isinstance(part, list) else [part]


def _pair(part: Any, what: str) -> tuple[str, Options]:
  """Returns the name and options of a part. Raises BenchmarkError for anything else."""
  if isinstance(part, str):
    return part, {}
  if isinstance(part, tuple) and len(part) == 2:
    return part[0], dict(part[1])
  kind = part if isinstance(part, type) else type(part)
  for base, registry in KINDS:
    if issubclass(kind, base):
      if not registry.names_of(kind):
        registry.register(kind.__name__)(kind)
        _registered_here.add(kind)
      options = {} if isinstance(part, type) else _options(part)
      return registry.names_of(kind)[0], options
  raise BenchmarkError(
    f'{what} has {part!r:.80}; give a registered name, a (name, options) pair, an object or class.'
  )


def _options(part: Any) -> Options:
  return {f.name: getattr(part, f.name) for f in dataclasses.fields(part) if f.init}


def _labelled(rows: Any, what: str) -> list[tuple[str, Any]]:
  """Returns (label, row) pairs of a mapping or a list; in a list, the label is the name."""
  if isinstance(rows, str):
    raise BenchmarkError(f'{what} is {rows!r}; give a list, or a mapping from labels.')
  if isinstance(rows, Mapping):
    return list(rows.items())
  return [(_label(row, what), row) for row in rows]


def _label(row: Any, what: str) -> str:
  if isinstance(row, ProblemSpec | Entrant):
    return row.label
  name, options = _pair(row, what)
  arguments = ', '.join(f'{key}={value}' for key, value in options.items())
  return f'{name}({arguments})' if arguments else name
