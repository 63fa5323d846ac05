"""What the recorded landscapes vary, and the programs of their cells."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from autoresearch_jax.benchmark.simulations.landscape_table import Factor
from autoresearch_jax.config import Config, from_config_dict, load
from autoresearch_jax.programs import catalogue
from autoresearch_jax.programs.source import Source
from autoresearch_jax.programs.start import with_constants
from autoresearch_jax.programs.structural_edits import available
from autoresearch_jax.types import Program


@dataclasses.dataclass(frozen=True)
class Space:
  """What a landscape varies, and in which setting.

  Attributes:
    config: Name of the config.
    constants: Values of the program's constants and fields of the data that differ from it.
    data: The same for `config.data`.
    steps: Train steps of the budgets, ascending.
    factors: What varies; of each factor, the first level is the starting program's.
    batched: Factors whose values are inputs of one executable: constants with which the train step
      computes, on which the program does not branch, and which neither shapes nor `init` use.
    switched: Factor -> the function that its edits change, from arrays to arrays. All versions are
      traced into one executable, and an input selects one.
    initial: Edits of `init` alone: programs that only differ in them share the train step.
    shaping: Other factors that change what `init` returns, such as the optimizer's state.
  """

  config: str
  constants: Mapping[str, Any]
  data: Mapping[str, Any]
  steps: tuple[int, ...]
  factors: tuple[Factor, ...]
  batched: tuple[str, ...]
  switched: Mapping[str, str] = dataclasses.field(default_factory=dict)
  initial: tuple[str, ...] = ()
  shaping: tuple[str, ...] = ()

  def config_of(self) -> Config:
    config = from_config_dict(load(self.config))
    return dataclasses.replace(
      config,
      constants={**config.constants, **self.constants},
      data={**config.data, **self.data},
      budget=dataclasses.replace(config.budget, amount=float(self.steps[-1]), unit='steps'),
    )


def edit(name: str, *levels: str) -> Factor:
  return Factor(name, 'edit', ('', *levels))


def constant(name: str, *levels: float) -> Factor:
  return Factor(name, 'constant', levels)


SPACES = {
  'example': Space(  # seconds
    config='digits',
    constants={},
    data={},
    steps=(5, 15, 45),
    factors=(
      edit('HIDDEN_LAYERS', 'hidden layers residual'),
      edit('INITIAL_WEIGHTS', 'initial weights LeCun'),
      constant('LEARNING_RATE', 0.001, 0.01, 1000.0),
    ),
    batched=('LEARNING_RATE',),
    initial=('INITIAL_WEIGHTS',),
  ),
  'digits': Space(
    config='digits',
    constants={},
    data={},
    steps=(11, 33, 100),
    factors=(
      edit('HIDDEN_LAYERS', 'hidden layers residual',
           'hidden layers layer norm before the activation'),
      edit('ACTIVATION', 'activation squared ReLU', 'activation GELU'),
      edit('OPTIMIZER', 'AdamW NAdamW', 'AdamW Lion'),
      edit('INPUT_NOISE', 'input noise up'),
      constant('WARMDOWN_RATIO', 0.0, 0.5),
      edit('INITIAL_WEIGHTS', 'initial weights LeCun', 'initial weights twice He'),
      constant('LABEL_SMOOTHING', 0.0, 0.1),
      constant('LEARNING_RATE', 0.001, 0.003, 0.01, 0.03, 0.1),
    ),
    batched=('LABEL_SMOOTHING', 'LEARNING_RATE'),
    switched={'ACTIVATION': 'activation'},
    initial=('INITIAL_WEIGHTS',),
    shaping=('OPTIMIZER',),
  ),
  'gpt': Space(
    config='gpt_small:cpu',
    constants={'DEPTH': 2, 'ASPECT_RATIO': 16, 'HEAD_DIM': 16, 'BATCH_SIZE': 4},
    data={'vocab_size': 512, 'sequence_length': 64, 'validation_tokens': 2**13, 'test_tokens': 0,
          'evaluation_batch': 32},
    steps=(4, 13, 40),
    factors=(
      edit('FIRST_EMBEDDING', 'embedding that enters every block with half of the previous one'),
      edit('SHIFTED_KEYS', 'a share of the previous position in keys up'),
      edit('MLP_GATE', 'a gate in the MLP up'),
      edit('TIED_EMBEDDINGS', 'tied embeddings up'),
      edit('QUERY_KEY_NORM', 'norm of queries and keys off'),
      constant('WEIGHT_DECAY', 0.2, 0.02),
      constant('UNEMBEDDING_LR', 0.004, 0.016),
      constant('EMBEDDING_LR', 0.6, 0.2, 1.8),
      constant('MATRIX_LR', 0.04, 0.01, 0.16),
    ),
    batched=('WEIGHT_DECAY', 'UNEMBEDDING_LR', 'EMBEDDING_LR', 'MATRIX_LR'),
  ),
}  # fmt: skip


@functools.cache
def _edited(text: str, key: str) -> str | None:
  """Returns a program's text after an edit of the catalogue; None if it does not apply."""
  edits = {e.key: e for e in available(Source(text), catalogue.packaged())}
  rewrite = edits[key].make(np.random.default_rng(0)) if key in edits else None
  return rewrite.text if rewrite else None


def program_of(space: Space, start: Program, levels: Mapping[str, int]) -> Program | None:
  """Returns the starting program with edits and constants; None if an edit does not apply.

  Args:
    space: The landscape's space.
    start: The starting program.
    levels: The level of each factor; those left out stay as they are.
  """
  values = {}
  text = start.text()
  for factor in space.factors:
    level = factor.levels[levels.get(factor.name, 0)]
    if factor.kind == 'constant':
      values[factor.name] = level
      continue
    if not level:
      continue
    edited = _edited(text, level)
    if edited is None:
      return None
    text = edited
  return with_constants(start.with_text(text), values)
