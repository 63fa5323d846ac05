"""The GPT's train step as a trial on this CPU runs it, for the scripts that time it.

Exported, compiled ahead of time with the runner's options, several steps a call, donated state.
"""

import dataclasses
import importlib
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from autoresearch_jax import types
from autoresearch_jax.programs.gpt import model as program
from autoresearch_jax.runner import client
from autoresearch_jax.runner.compile import CPU_COMPILER_OPTIONS

# As a runner is started: with large pages for large buffers.
ENVIRONMENT = {
  'JAX_PLATFORMS': 'cpu',
  'GLIBC_TUNABLES': client.HUGE_PAGES,
}
SIZES = {
  'cpu variant': {'DEPTH': 2, 'ASPECT_RATIO': 64, 'HEAD_DIM': 64, 'BATCH_SIZE': 8},
  'PERFORMANCE.md': {'DEPTH': 4, 'ASPECT_RATIO': 64, 'HEAD_DIM': 64, 'BATCH_SIZE': 16},
}
VOCAB, TIME = 1024, 256
PROGRESS = 0.25


def start_again_with(environment: Mapping[str, str]) -> None:
  """Starts this script again unless the environment is set; jax reads it when it is imported."""
  if not environment.items() <= os.environ.items():
    os.environ |= environment
    os.execv(sys.executable, [sys.executable, *sys.argv])


def resize(size: str) -> None:
  """Gives the program the constants of a size, and its own functions back."""
  importlib.reload(program)
  for constant, value in SIZES[size].items():
    setattr(program, constant, value)


def random_batches(steps: int) -> tuple[np.ndarray, np.ndarray]:
  """Inputs and targets, int32 [steps, batch, time]."""
  rng = np.random.default_rng(0)
  rows = rng.integers(0, VOCAB, (steps, program.BATCH_SIZE, TIME + 1)).astype(np.int32)
  return rows[..., :-1].copy(), rows[..., 1:].copy()


@dataclasses.dataclass(frozen=True)
class Steps:
  """run: trains on all batches once and gives their losses. weights: those it starts from."""

  run: Callable[[], np.ndarray]
  weights: dict[str, np.ndarray]
  compile_seconds: float


def train_steps(inputs: np.ndarray, targets: np.ndarray, a_call: int = 0) -> Steps:
  """The program's steps on these batches. a_call: steps in one call; all of them if 0."""
  state = first_state()
  leaves, structure = jax.tree.flatten(state)
  a_call = a_call or len(inputs)

  def step(leaves, inputs, targets, progress):
    state = jax.tree.unflatten(structure, leaves)
    batch = {'inputs': inputs, 'targets': targets}
    state, metrics = program.train_step(state, batch, progress)
    return jax.tree.leaves(state), metrics['loss']

  shapes = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), (leaves, inputs[0], targets[0])
  )
  exported = export.export(jax.jit(step))(*shapes, jax.ShapeDtypeStruct((), jnp.float32))

  def steps(leaves, inputs, targets, progress, count):
    def one(i, carry):
      leaves, losses = carry
      leaves, loss = exported.call(leaves, inputs[i], targets[i], progress)
      return leaves, losses.at[i].set(loss)

    return jax.lax.fori_loop(0, count, one, (leaves, jnp.zeros(a_call)))

  rest = np.float32(PROGRESS), np.int32(a_call)
  lowered = jax.jit(steps, donate_argnums=0).lower(leaves, inputs[:a_call], targets[:a_call], *rest)
  began = time.perf_counter()
  executable = lowered.compile(compiler_options=CPU_COMPILER_OPTIONS)
  seconds = time.perf_counter() - began
  named = jax.tree_util.tree_leaves_with_path(state.model)
  weights = {jax.tree_util.keystr(path[:-1]): np.array(leaf) for path, leaf in named}

  def run() -> np.ndarray:
    nonlocal leaves
    losses = []
    for i in range(0, len(inputs), a_call):
      part = slice(i, i + a_call)
      leaves, loss = executable(leaves, inputs[part], targets[part], *rest)
      losses.append(loss)
    return np.concatenate(losses)

  return Steps(run, weights, seconds)


def first_state() -> Any:
  """The program's own, but output projections and gates, which start at zero, take part."""
  budget = types.Budget(60)
  spec = types.Spec('language_model', 'cpu', 1, budget, vocab_size=VOCAB, sequence_length=TIME)
  state = jax.jit(lambda key: program.init(key, spec))(jax.random.key(0))
  state = jax.tree.map(lambda x: x if jnp.any(x) or x.ndim < 3 else jnp.full_like(x, 0.01), state)
  return state._replace(optimizer=program.make_optimizer().init(state.model))
