"""Replicates: seeds of one program trained one after the other, or all at once by `jax.vmap`?

  python measure_seeds.py [--only=digits,gpt] [--seeds=2,4,8] [--pairs=5] [--out=FILE]

On whatever platform JAX finds, for the starting programs of configs/digits.py and of the cpu
variant of configs/gpt_small.py (small enough that a device is not filled by one seed). Both ways
are compiled once, outside of the time, with the loop, the donation and the flags that the runner
has; each seed has its own state and its own order of batches. The two take turns, and the median
over pairs of `time of all seeds at once / time of one after the other`, at equal steps, is printed:
below 1, vmapping is faster. Final losses of both ways are compared, so that they are the same work.

An exported call has no batching rule, so a trial that vmaps would need a train step that the tracer
itself exports for K seeds; the functions of the program are used directly here. In a run, equal
steps are not the whole story: where the budget is in seconds, K seeds at once share the device, so
each would make other steps than a seed that trains alone, and their scores would answer another
question than the trial's first look did. Only budgets in steps, tokens or FLOPs allow it.

On two AVX-512 cores, 2, 4 and 8 digits seeds at once take 0.84, 0.82 and 0.58 of the time, and GPT
seeds 1.02, 1.17 and 1.24. A seed of digits trains for 0.02 s and takes 0.1 s besides, so neither
pays: replicates are queued. On accelerators nothing was measured. `attention` by cuDNN would go
through the seeds one by one.
"""

import dataclasses
import itertools
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import msgspec
import numpy as np
from absl import app, flags

from autoresearch_jax.config import from_config_dict, load
from autoresearch_jax.data import loader
from autoresearch_jax.programs.start import starting_program
from autoresearch_jax.research.build import build_task
from autoresearch_jax.runner.compile import CPU_COMPILER_OPTIONS, prng_key_data
from autoresearch_jax.tracer.importing import import_entry
from autoresearch_jax.types import Dataset, Spec

ONLY = flags.DEFINE_list('only', ['digits', 'gpt'], 'Problems.')
SEEDS = flags.DEFINE_list('seeds', ['2', '4', '8'], 'How many seeds at once.')
flags.register_validator(ONLY, {'digits', 'gpt'}.issuperset, 'There are digits and gpt.')
flags.register_validator(SEEDS, lambda words: all(map(str.isdecimal, words)), 'Numbers are wanted.')
PAIRS = flags.DEFINE_integer('pairs', 5, 'Times that both ways are timed.', 1)
OUT = flags.DEFINE_string('out', '', 'Also write the figures to this JSON file.')


@dataclasses.dataclass(frozen=True)
class Case:
  """A program's functions and how long it is timed: `calls` calls of `steps` steps each."""

  name: str
  module: Any
  spec: Spec
  dataset: Dataset
  steps: int
  calls: int

  def batches(self, seed: int) -> list[dict[str, np.ndarray]]:
    """One dict a call: inputs and targets, [steps, ...]."""
    feed = loader.batches(
      self.dataset, self.module.BATCH_SIZE, self.spec.sequence_length or 0, seed
    )
    return [
      {k: np.stack([b[k] for b in part]) for k in ('inputs', 'targets')}
      for part in (list(itertools.islice(feed, self.steps)) for _ in range(self.calls))
    ]


def case(name: str, config: Any, folder: pathlib.Path, steps: int, calls: int) -> Case:
  config = from_config_dict(config)
  home = folder / name
  program = starting_program(config)
  program.write(home)
  task = build_task(config)
  spec = dataclasses.replace(task.spec, platform=jax.default_backend())
  return Case(name, import_entry(home, config.entry), spec, task.prepare_data(print), steps, calls)


@dataclasses.dataclass(frozen=True)
class Way:
  """A compiled way to train. init: keys -> state; step: (state, batches) -> (state, loss)."""

  init: Callable[..., Any]
  step: Callable[..., Any]
  compile_seconds: float


def way(case: Case, seeds: int | None) -> Way:
  """For one seed, or for `seeds` at once: then keys and batches have a leading axis of seeds."""

  def init(key_data):
    return case.module.init(jax.random.wrap_key_data(key_data, impl='threefry2x32'), case.spec)

  def step(state, batches):
    def one(i, carry):
      batch = jax.tree.map(lambda x: x[i], batches)
      state, metrics = case.module.train_step(carry[0], batch, jnp.float32(0.3))
      return state, metrics['loss'].astype(jnp.float32)

    return jax.lax.fori_loop(0, case.steps, one, (state, jnp.zeros(())))

  keys, batches = prng_key_data(0), case.batches(0)[0]
  if seeds:
    init, step = jax.vmap(init), jax.vmap(step)
    keys = np.stack([keys] * seeds)
    batches = jax.tree.map(lambda x: np.stack([x] * seeds), batches)
  options = CPU_COMPILER_OPTIONS if jax.default_backend() == 'cpu' else None
  start = time.monotonic()
  made = jax.jit(init).lower(keys).compile()
  state = jax.eval_shape(init, keys)
  # What runs in the module is what the tracer would have exported: it is traced here, once.
  trained = jax.jit(step, donate_argnums=0).lower(state, batches)
  return Way(made, trained.compile(compiler_options=options), time.monotonic() - start)


def train(way: Way, keys: np.ndarray, calls: list[Any]) -> tuple[float, np.ndarray]:
  """Seconds of the steps, `init` left out, and the last loss."""
  state, loss = jax.block_until_ready(way.init(keys)), None
  start = time.perf_counter()
  for batches in calls:
    state, loss = way.step(state, batches)
  jax.block_until_ready((state, loss))
  return time.perf_counter() - start, np.asarray(loss)


def compare(case: Case, seeds: int, pairs: int) -> dict[str, Any]:
  """Both ways, in turns. Seconds are of the whole replicate, all seeds."""
  alone, at_once = way(case, None), way(case, seeds)
  keys = np.stack([prng_key_data(seed) for seed in range(seeds)])
  feeds = [case.batches(seed) for seed in range(seeds)]
  together = [jax.tree.map(lambda *x: np.stack(x), *parts) for parts in zip(*feeds, strict=True)]
  queued, vmapped, apart = [], [], 0.0
  for _ in range(pairs + 1):  # the first one warms up
    runs = [train(alone, key, feed) for key, feed in zip(keys, feeds, strict=True)]
    queued.append(sum(seconds for seconds, _ in runs))
    seconds, losses = train(at_once, keys, together)
    vmapped.append(seconds)
    apart = float(np.max(np.abs(losses - np.array([loss for _, loss in runs])) / np.abs(losses)))
  ratios = sorted(v / q for q, v in zip(queued[1:], vmapped[1:], strict=True))
  return {
    'problem': case.name,
    'platform': jax.devices()[0].device_kind,
    'seeds': seeds,
    'steps': case.steps * case.calls,
    'queued_seconds': statistics.median(queued[1:]),
    'vmapped_seconds': statistics.median(vmapped[1:]),
    'ratio': statistics.median(ratios),
    'ratio_min': ratios[0],
    'ratio_max': ratios[-1],
    'queued_compile_seconds': alone.compile_seconds,
    'vmapped_compile_seconds': at_once.compile_seconds,
    'losses_apart': apart,
  }


def show(row: dict[str, Any]) -> None:
  print(
    f'{row["problem"]:>7}, {row["seeds"]} seeds, {row["steps"]} steps: one after the other '
    f'{row["queued_seconds"]:.3f} s, at once {row["vmapped_seconds"]:.3f} s: '
    f'{row["ratio"]:.2f} ({row["ratio_min"]:.2f} to {row["ratio_max"]:.2f}) of the time; '
    f'compiled in {row["queued_compile_seconds"]:.1f} and {row["vmapped_compile_seconds"]:.1f} s; '
    f'losses within {row["losses_apart"]:.1e}',
    flush=True,
  )


def main(arguments: list[str]) -> None:
  if len(arguments) > 1:
    raise app.UsageError(f'{arguments[1]!r} is not understood; there are flags alone.')
  rows = []
  with tempfile.TemporaryDirectory() as scratch:
    made = {
      'digits': lambda: case('digits', load('digits'), pathlib.Path(scratch), 50, 6),
      'gpt': lambda: case('gpt', load('gpt_small:cpu'), pathlib.Path(scratch), 4, 3),
    }
    for name in ONLY.value:
      chosen = made[name]()
      for seeds in map(int, SEEDS.value):
        rows.append(compare(chosen, seeds, PAIRS.value))
        show(rows[-1])
  if OUT.value:
    pathlib.Path(OUT.value).write_bytes(msgspec.json.format(msgspec.json.encode(rows), indent=1))


if __name__ == '__main__':
  app.run(main)
