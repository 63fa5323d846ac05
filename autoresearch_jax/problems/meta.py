"""Meta search: the program is a search strategy, and its metric is the regret on a benchmark.

A trial plays the strategy on simulated problems (`benchmark/simulations`). Those that the search
sees and those of the final evaluation have no landscape family in common. Their seeds are derived
from a secret on this machine, so that no strategy can recompute an instance. `meta/` plays them.
"""

import dataclasses
import hashlib
import pathlib
import secrets
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from autoresearch_jax.data import cache as caching
from autoresearch_jax.problems.base import PROBLEMS, Problem
from autoresearch_jax.types import Dataset, Direction

FORMAT = 1  # change it with anything that changes what the same options measure
FOLDER = 'meta'  # below the cache
SECRET = 'secret'  # file in the dataset's folder
MAX_INSTANCES = 100
BENCHMARK = pathlib.Path(__file__).resolve().parents[1] / 'benchmark'  # code of the instances

# Label -> (simulation, its options). A family is a simulation with all of its options.
LANDSCAPES: dict[str, tuple[str, dict[str, Any]]] = {
  'nk_k0': ('nk', {'n': 32, 'k': 0}),
  'nk_k4': ('nk', {'n': 32, 'k': 4}),
  'nk_k8': ('nk', {'n': 32, 'k': 8}),
  'leading_ones': ('leading_ones', {'n': 32}),
  'trap': ('trap', {'n': 30}),
  'lineage': ('lineage', {'noise': 0.0}),
  **{
    f'{name}_10': ('continuous', {'function': name, 'dimension': 10})
    for name in ('sphere', 'rastrigin', 'rosenbrock', 'ackley', 'ellipsoid')
  },
  'recorded_digits': ('recorded', {'noise': 0.0}),
  'landscape_digits': ('landscape', {'noise': 0.0}),
}


@PROBLEMS.register('meta')
@dataclasses.dataclass(frozen=True)
class MetaSearch(Problem):
  """A search strategy to improve.

  Attributes:
    tuning: Labels of the landscapes that the search is scored on; see LANDSCAPES.
    held_out: Those of the final evaluation, of other families.
    instances: Instances of each landscape that one training seed plays.
    reference: Registered strategy that plays the same instances, for `relative_regret`.
  """

  tuning: tuple[str, ...] = ('nk_k0', 'nk_k4', 'leading_ones', 'lineage')
  held_out: tuple[str, ...] = (
    'trap', 'rastrigin_10', 'rosenbrock_10', 'ackley_10', 'recorded_digits', 'landscape_digits',
  )  # fmt: skip
  instances: int = 1
  reference: str = 'greedy'

  def __post_init__(self) -> None:
    for name in ('tuning', 'held_out'):
      labels = getattr(self, name)
      if not labels or len(set(labels)) < len(labels):
        raise ValueError(
          f'config.data.{name} is {labels}; name one or more landscapes, each of them once.'
        )
      for label in labels:
        if label not in LANDSCAPES:
          raise ValueError(
            f'config.data.{name} has {label!r}, which is no landscape; there are: '
            f'{", ".join(LANDSCAPES)}.'
          )
    shown, kept = (_families(labels) for labels in (self.tuning, self.held_out))
    if both := sorted(shown & kept):
      raise ValueError(
        f'config.data.tuning and config.data.held_out both have landscapes of the family '
        f'{both[0]!r}; remove them from one of the two.'
      )
    if not 1 <= self.instances <= MAX_INSTANCES:
      raise ValueError(
        f'config.data.instances is {self.instances}; set it to 1 to {MAX_INSTANCES}.'
      )

  def shapes(self) -> dict[str, Any]:
    return {'kind': 'strategy'}

  def metrics(self) -> Mapping[str, Direction]:
    by_landscape = (f'regret_{label}' for label in self.tuning)
    names = ('relative_regret', 'regret', 'final_regret', *by_landscape)
    return dict.fromkeys(names, 'minimize')

  def prepare(self, cache: pathlib.Path, say: Callable[[str], None]) -> Dataset:
    """Draws the secret that the seeds of all instances are derived from, once per machine."""

    def make(folder: pathlib.Path) -> None:
      (folder / SECRET).write_text(secrets.token_hex(32), encoding='utf-8')
      say('Drew the secret seed of the instances that strategies are played on.')

    folder, _ = caching.folder(cache / FOLDER, SECRET, make, say)
    secret = (folder / SECRET).read_text(encoding='utf-8')
    options = (FORMAT, secret, dataclasses.asdict(self))
    key = hashlib.sha256(msgspec.json.encode(options)).hexdigest()
    return Dataset('strategy', validation=str(folder), test=str(folder), fingerprint=key)

  def hidden(self) -> tuple[pathlib.Path, ...]:
    """Returns the code that draws instances, and the folder of their secret."""
    return (BENCHMARK, caching.directory() / FOLDER)


def _families(labels: tuple[str, ...]) -> set[str]:
  return {LANDSCAPES[label][0] for label in labels}
