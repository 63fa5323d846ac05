"""Records a landscape: real trainings of every combination of some edits and constants.

  python record_edits.py --landscape=digits --minutes=10     # again and again, until it is complete
  python record_edits.py --landscape=digits --pack=digits.npz

Every program is the starting program of a config with structural edits of the catalogue and values
of constants. Programs that only differ in values which the program merely computes with (`batched`)
are traced and compiled once and trained side by side, by `jax.vmap` over values and seeds; so is
each seed. Data, keys, progress, divergence and metric are the engine's, and `check_edits.py`
compares a sample of cells with trainings through the engine. A group of programs is one file in
--folder, so a stopped command goes on where it was. To record a landscape of your own, add a Space
to `spaces.py`.

Seconds are CPU time of a group divided by its trainings; memory is the executable's, for one of
them.
"""

import argparse
import dataclasses
import hashlib
import importlib.metadata
import itertools
import pathlib
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from side_by_side import CompiledRun, Training, evaluation_data, imported
from spaces import SPACES, Space, program_of

from autoresearch_jax.benchmark.simulations.landscape_table import (
  Factor,
  Landscape,
  cells_of,
  shape_of,
)
from autoresearch_jax.data import loader
from autoresearch_jax.programs.start import starting_program
from autoresearch_jax.research.build import build_task
from autoresearch_jax.runner.compile import CPU_COMPILER_OPTIONS, prng_key_data

SEEDS = (0, 1, 2)
CLEARED_AFTER = 16  # groups, whose compiled functions would fill the memory
KEYS = np.stack([prng_key_data(seed) for seed in SEEDS])
PACKAGES = ('autoresearch_jax', 'jax', 'jaxlib', 'flax', 'optax', 'numpy', 'scikit-learn')


def main() -> int:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--landscape', choices=sorted(SPACES), default='digits')
  parser.add_argument('--folder', type=pathlib.Path, help='default: runs/landscapes/LANDSCAPE')
  parser.add_argument('--minutes', type=float, default=10.0)
  parser.add_argument(
    '--share', default='0/1', help='which groups, as in 0/2 and 1/2 for two processes'
  )
  parser.add_argument('--pack', type=pathlib.Path, help='the .npz file of a complete landscape')
  arguments = parser.parse_args()
  name, space = arguments.landscape, SPACES[arguments.landscape]
  folder = arguments.folder or pathlib.Path('runs/landscapes', name)
  folder.mkdir(parents=True, exist_ok=True)
  if arguments.pack:
    return pack(name, space, folder, arguments.pack)
  deadline = time.monotonic() + 60 * arguments.minutes
  share, shares = map(int, arguments.share.split('/'))
  recorder = Recorder(space)
  groups = list(recorder.groups())
  for number, group in enumerate(groups):
    path = folder / f'{number:04d}.npz'
    if path.exists() or number % shares != share:
      continue
    if time.monotonic() > deadline:
      print(f'The minutes are over: {number} of {len(groups)} groups are recorded.')
      return 0
    began = time.monotonic()
    rows = recorder.record(group)
    part = path.with_suffix('.part')
    with part.open('wb') as file:
      np.savez_compressed(file, allow_pickle=False, **rows)
    part.rename(path)
    scores = rows['metric'][:, -1]
    print(
      f'{number + 1} of {len(groups)}: {len(scores)} programs in {time.monotonic() - began:.1f} s, '
      f'{np.isfinite(scores).mean():.0%} of the trainings succeeded.',
      flush=True,
    )
  recorded = sum(1 for _ in folder.glob('*.npz'))
  print(
    f'{recorded} of {len(groups)} groups are recorded; --pack=FILE writes a complete landscape.'
  )
  return 0


class Recorder:
  """Trains groups of programs that share one train step."""

  def __init__(self, space: Space):
    self.space = space
    self.config = space.config_of()
    self.task = build_task(self.config)
    self.dataset = self.task.prepare_data(print)
    self.spec = dataclasses.replace(self.task.spec, num_devices=1)
    self.start = starting_program(self.config)
    self._batches: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    self._evaluation = evaluation_data(self.dataset)
    self._recorded = 0
    self._initials: dict[tuple[int, ...], list[np.ndarray]] = {}

  def groups(self) -> Iterator[tuple[int, ...]]:
    """The levels of all factors that need an executable of their own, in their order."""
    return itertools.product(*(range(len(f.levels)) for f in self._split()[0]))

  def record(self, group: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Returns the rows of a group's cells; see `Landscape` for the arrays."""
    static, initial, batched = self._split()
    fixed = dict(zip((f.name for f in static), group, strict=True))
    choices = list(itertools.product(*(range(len(f.levels)) for f in batched)))
    values = np.array(
      [[i if f.name in self.space.switched else f.levels[i]
        for f, i in zip(batched, choice, strict=True)] for choice in choices],
      np.float32,
    )  # fmt: skip
    run, parts = None, []
    for chosen in itertools.product(*(range(len(f.levels)) for f in initial)):
      levels = fixed | dict(zip((f.name for f in initial), chosen, strict=True))
      cells = [
        self._cell(levels | dict(zip((f.name for f in batched), choice, strict=True)))
        for choice in choices
      ]
      training = self._training(levels, batched)
      if training is None:
        parts.append(self._invalid(cells))
        continue
      leaves = self._initial(training, levels, len(values))
      data = self.batches(training.flat.batch_size)
      if run is None:
        training.lowered_init(KEYS)  # tells the train step how its state is made up
        run = training.compiled(leaves, values, data, self._evaluation, self.limit)
      parts.append({'cell': np.array(cells), **self._trained(run, leaves, values, data)})
    self._recorded += 1
    if self._recorded % CLEARED_AFTER == 0:
      jax.clear_caches()
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

  def _training(self, levels: Mapping[str, int], batched: Sequence[Factor]) -> 'Training | None':
    """Returns the functions of a program, with the batched factors as inputs; None if invalid."""
    program = program_of(self.space, self.start, levels)
    if program is None:
      return None
    versions = {}
    for factor in batched:
      if function := self.space.switched.get(factor.name):
        programs = [program_of(self.space, self.start, {**levels, factor.name: i})
                    for i in range(len(factor.levels))]  # fmt: skip
        if None in programs:
          return None
        versions[factor.name] = function, [getattr(imported(p), function) for p in programs if p]
    return Training(imported(program), self.spec, tuple(f.name for f in batched), versions)

  def _initial(
    self, training: 'Training', levels: Mapping[str, int], count: int
  ) -> list[np.ndarray]:
    """Returns the leaves of the initial states, each [values, seeds, ...]."""
    space = self.space
    key = tuple(levels[name] for name in (*space.initial, *space.shaping))
    if not space.shaping or key not in self._initials:
      leaves = training.lowered_init(KEYS).compile(CPU_COMPILER_OPTIONS)(KEYS)
      self._initials[key] = [np.asarray(leaf) for leaf in leaves]
    return [np.broadcast_to(leaf, (count, *leaf.shape)) for leaf in self._initials[key]]

  @property
  def limit(self) -> float:
    return self.config.limits.max_loss

  def batches(self, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets of all seeds, [seeds, steps, batch, ...], as the runner draws them."""
    if size not in self._batches:
      seeds = []
      for seed in SEEDS:
        drawn = loader.batches(self.dataset, size, self.spec.sequence_length or 0, seed)
        next(drawn)  # the runner measures the duration of a step on it
        seeds.append([next(drawn) for _ in range(self.space.steps[-1])])
        drawn.close()  # type: ignore[attr-defined]
      self._batches[size] = tuple(  # type: ignore[assignment]
        np.array([[batch[name] for batch in seed] for seed in seeds])
        for name in ('inputs', 'targets')
      )
    return self._batches[size]

  def _split(self) -> tuple[list[Factor], list[Factor], list[Factor]]:
    """The factors that need an executable each, those of `init` alone, and the batched ones."""
    space = self.space
    inputs = {*space.batched, *space.switched}
    special = {*inputs, *space.initial}
    return (
      [f for f in space.factors if f.name not in special],
      [f for f in space.factors if f.name in space.initial],
      [f for f in space.factors if f.name in inputs],
    )

  def _cell(self, levels: Mapping[str, int]) -> int:
    places = [levels[factor.name] for factor in self.space.factors]
    return int(np.ravel_multi_index(places, shape_of(self.space.factors)))

  def _trained(
    self, run: 'CompiledRun', leaves: Any, values: np.ndarray, data: Any
  ) -> dict[str, np.ndarray]:
    lanes = len(values) * len(SEEDS)
    metric, failed_at, seconds = [], [], []
    for steps in self.space.steps:
      began = time.process_time()
      score, failed = run(leaves, values, data, steps)
      seconds.append((time.process_time() - began) / lanes)
      failed = np.where((failed == 0) & ~np.isfinite(score), steps, failed)
      metric.append(np.where(failed, np.nan, score))
      failed_at.append(failed)
    count = len(values)
    return {
      'metric': np.stack(metric, axis=1).astype(np.float32),  # [values, budgets, seeds]
      'failed_at': np.stack(failed_at, axis=1).astype(np.uint16),
      'invalid': np.zeros(count, bool),
      'flops': np.full(count, run.flops),
      'peak_bytes': np.full(count, run.peak_bytes // lanes),
      'seconds': np.tile(np.array(seconds, np.float32), (count, 1)),
    }

  def _invalid(self, cells: list[int]) -> dict[str, np.ndarray]:
    count, budgets = len(cells), len(self.space.steps)
    return {
      'cell': np.array(cells),
      'metric': np.full((count, budgets, len(SEEDS)), np.nan, np.float32),
      'failed_at': np.zeros((count, budgets, len(SEEDS)), np.uint16),
      'invalid': np.ones(count, bool),
      'flops': np.zeros(count),
      'peak_bytes': np.zeros(count, int),
      'seconds': np.zeros((count, budgets), np.float32),
    }


def pack(name: str, space: Space, folder: pathlib.Path, out: pathlib.Path) -> int:
  """Writes a complete landscape. Returns the exit code."""
  parts = []
  for path in sorted(folder.glob('*.npz')):
    with np.load(path) as stored:
      parts.append({key: stored[key] for key in stored.files})
  cells = np.concatenate([part['cell'] for part in parts]) if parts else np.zeros(0, int)
  total = cells_of(space.factors)
  if sorted(cells.tolist()) != list(range(total)):
    print(f'{len(cells)} of {total} programs are recorded in {folder}; record the rest first.')
    return 1
  order = np.argsort(cells)
  arrays = {
    key: np.concatenate([part[key] for part in parts])[order] for key in parts[0] if key != 'cell'
  }
  config = space.config_of()
  program = starting_program(config)
  task = build_task(config)
  about = {
    'config': space.config,
    'constants': dict(space.constants),
    'data': dict(space.data),
    'seeds': SEEDS,
    'max_loss': config.limits.max_loss,
    'program': program.digest,
    'dataset': task.prepare_data(print).fingerprint,
    'versions': {package: importlib.metadata.version(package) for package in PACKAGES},
  }
  out.parent.mkdir(parents=True, exist_ok=True)
  landscape = Landscape(
    name, space.factors, config.metric, task.problem.metrics()[config.metric], space.steps,
    **arrays, about=about,
  )  # fmt: skip
  landscape.save(out)
  digest = hashlib.sha256(out.read_bytes()).hexdigest()
  print(f'{out}: {total} programs, {out.stat().st_size / 2**20:.2f} MiB, sha256 {digest}')
  return 0


if __name__ == '__main__':
  sys.exit(main())
