"""`python -m autoresearch_jax.main` with the synthetic run's parts registered, as a plugin does.

python synthetic_command.py --config=synthetic_command.py --workdir=DIR
"""

import dataclasses
import os
import pathlib
import sys

import ml_collections

from autoresearch_jax import main
from autoresearch_jax.executors import EXECUTORS
from autoresearch_jax.problems import PROBLEMS, Problem
from autoresearch_jax.proposers import PROPOSERS
from autoresearch_jax.types import Dataset, Hardware
from helpers import synthetic_run

PROGRAM = pathlib.Path(__file__).parent / 'synthetic_program'


def get_config():
  return ml_collections.ConfigDict({
    'name': 'synthetic',
    'problem': 'synthetic',
    'program': str(PROGRAM),
    'editable': ('model.py',),
    'entry': 'model.py',
    'metric': 'val_loss',
    'direction': 'minimize',
    'budget': {'amount': 2.0, 'unit': 'steps'},
    'platform': 'cpu',
    'proposer': 'nudge',
    'acceptance': 'noise',
    'executor': 'arithmetic',
    'executor_options': {'slots': 1, 'delay': 0.0},
    'search': {'strategy': 'greedy', 'max_trials': 5},
    'data': {'test': ''},
    'final_seeds': 0,
    'seed': 0,
  }).lock()  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Synthetic(Problem):
  """A problem without data; test: where it pretends to hold some back."""

  test: str = ''

  def shapes(self):
    return {'kind': 'supervised', 'input_shape': (2,), 'num_classes': 2}

  def metrics(self):
    return {'val_loss': 'minimize'}

  def prepare(self, cache, say):
    del cache
    say('data: none needed')
    return Dataset('supervised', fingerprint='digest of data', test=self.test)


@dataclasses.dataclass
class Arithmetic(synthetic_run.Arithmetic):
  """The synthetic executor with the collaborators that a real one is given."""

  spec: object = None
  dataset: object = None
  hidden: object = None
  limits: object = None
  scratch: object = None
  cache: object = None

  def hardware(self):
    kind = os.environ.get('SYNTHETIC_HARDWARE')
    return Hardware(kind, 1) if kind else None


def main_with_parts(arguments):
  """Runs the command with the parts registered."""
  PROBLEMS.register('synthetic')(Synthetic)
  PROPOSERS.register('nudge')(synthetic_run.Nudge)
  EXECUTORS.register('arithmetic')(Arithmetic)
  return main.main(arguments)


if __name__ == '__main__':
  sys.exit(main_with_parts(sys.argv[1:]))
