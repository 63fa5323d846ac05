"""Trains the GPT in the original's setting on this machine's accelerator, and times its train step.

  autoresearch measure accelerator                 # on a GPU or a TPU: less than 9 minutes
  autoresearch measure accelerator --seconds=0 --variants=kernel,chunk4096,micro64
  autoresearch measure accelerator --smoke         # a tiny model on a CPU, in seconds

The unmodified program of the variant `gpu` or `tpu` of configs/gpt_small.py is trained once for
300 s by the real executor: sandboxed tracer, artifact, runner. Then the train step is timed (see
`autoresearch measure steps`) for variants of the program: unmodified, with `ops.attention.blocked`
instead of the platform's kernel, and others (see VARIANTS). Results are printed as tables, next to
the original's, and written to a JSON file after each part, so that a time limit loses only the
remaining parts.

Uses ClimbMix if `autoresearch prepare` has downloaded it, and else the text that ships with Python.
Shapes, speed and memory are the same, but the score is then not comparable with the original's.

XLA_FLAGS are passed on and recorded, so that the effect of a flag can be measured. No flag is set
by default. Candidates for one GPU, from JAX's and NVIDIA's performance guides:
--xla_gpu_triton_gemm_any=true (Triton for every matrix product it supports), and
--xla_gpu_autotune_level=2 or --xla_gpu_enable_triton_gemm=false (shorter compilation). The
latency-hiding scheduler only concerns communication between devices.
"""

import dataclasses
import importlib.metadata
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from typing import Any

import msgspec
from absl import app, flags

from autoresearch_jax.cli import flags as command
from autoresearch_jax.config import Config, ConfigError, from_config_dict, load
from autoresearch_jax.data import shards
from autoresearch_jax.executors import finished, probe
from autoresearch_jax.measure import gpt_setting
from autoresearch_jax.measure.gpt_setting import GptShape
from autoresearch_jax.programs.start import starting_program, with_constants
from autoresearch_jax.research.build import build_task
from autoresearch_jax.sandbox.tracer_policy import SandboxError
from autoresearch_jax.types import Dataset, Program, Progress, Result, Status, TrialRequest

SECONDS = flags.DEFINE_float(
  'seconds', 300.0, 'Seconds of training; the original has 300. 0: no training.', 0
)
DEVICES = flags.DEFINE_integer(
  'devices', 1, 'Devices that share a batch; without training only.', 1
)
MAX_SECONDS = flags.DEFINE_float(
  'max_seconds', 530.0, 'Time limit in seconds; parts that do not fit are skipped.'
)
SMOKE = flags.DEFINE_bool('smoke', False, 'Train a tiny model on a CPU for 20 steps.')
OUT = flags.DEFINE_string('out', 'accelerator.json', 'JSON file for the results.')
NAMES = flags.DEFINE_list('variants', ['kernel', 'blocked'], 'Variants of the program to time.')
SEED = flags.DEFINE_integer('seed', 0, 'Seed of the training run.', 0)

TINY = {'DEPTH': 2, 'ASPECT_RATIO': 16, 'HEAD_DIM': 16, 'BATCH_SIZE': 4, 'MICRO_BATCH_SIZE': 2}
ATTENTION = 'attention(q, k, v, window=window, platform=platform)'
LOSS = "batch['targets'].reshape(-1), LOGIT_CAP)"
# Name -> (old text, new text) or constants. There is no kernel for the platform `any`, so attention
# falls back to `blocked`, which recomputes the attention weights in the backward pass.
VARIANTS: dict[str, tuple[str, str] | dict[str, int]] = {
  'kernel': {},
  'blocked': (ATTENTION, ATTENTION.replace('platform=platform', "platform='any'")),
  **{f'chunk{n}': (LOSS, LOSS.replace('CAP', f'CAP, {n}')) for n in (2048, 4096, 8192)},
  **{f'micro{n}': {'MICRO_BATCH_SIZE': n} for n in (8, 16, 32, 64, 128, 256)},
}
LIBRARIES = ('libcuda.so', 'libtpu', '/dev/nvidia', '/dev/accel', '/dev/vfio')
MIN_FOR_STEPS = 60.0  # seconds to compile and time two programs


def setting() -> tuple[Config, Dataset, str]:
  """Returns the config, the data, and a description of the data."""
  variant = 'cpu' if SMOKE.value else probe.platform()
  if variant == 'cpu' and not SMOKE.value:
    sys.exit('JAX finds no accelerator. Use --smoke to try this command on a CPU.')
  values: Any = load(f'gpt_small:{variant}').unlock()
  values.budget.amount = SECONDS.value or 300.0
  if SMOKE.value:  # in steps, since a busy machine may take seconds for one
    values.constants.update(TINY)
    values.budget.update(amount=20.0, unit='steps')
  try:
    config = from_config_dict(values)
    return (
      config,
      build_task(config).prepare_data(print),
      f'{config.data["corpus"]}, as configured',
    )
  except shards.MissingShards as missing:
    description = (
      'the text that ships with Python, which is small and seen many times, so val_bpb is not '
      f'comparable ({missing})'
    )
  values.data.corpus = 'python'
  values.data.validation_tokens = values.data.evaluation_batch * values.data.sequence_length
  values.data.test_tokens = 0
  config = from_config_dict(values)
  return config, build_task(config).prepare_data(print), description


@dataclasses.dataclass(frozen=True)
class MeasuredTrial:
  """A trial with its times.

  Attributes:
    result: The result.
    began: Time at which each phase began, in seconds.
    ended: Time at which the result arrived.
    tracer: Accelerators that the tracer process could use, see `accessible_devices`.
  """

  result: Result
  began: dict[str, float]
  ended: float
  tracer: dict[str, Any]


def trial(config: Config, dataset: Dataset, program: Program) -> MeasuredTrial:
  """Trains and scores the program once."""
  with tempfile.TemporaryDirectory() as scratch:
    executor: Any = build_task(config).start_executor(dataset, pathlib.Path(scratch))
    tracer: dict[str, Any] = {}
    began: dict[str, float] = {}

    def on_progress(progress: Progress) -> None:
      if progress.phase not in began:
        began[progress.phase] = time.monotonic()
        print(f'{progress.phase} ...', file=sys.stderr, flush=True)
        if progress.phase == 'compile':  # traced just before, in a fork of this process
          tracer.update(accessible_devices(executor.pids()['tracer']))

    try:
      request = TrialRequest(0, program, (SEED.value,), config.budget)
      (result,) = finished(executor, request, each=on_progress)
      return MeasuredTrial(result, began, time.monotonic(), tracer)
    finally:
      executor.close()


def accessible_devices(pid: int | None) -> dict[str, Any]:
  """Returns JAX's platforms in a process, and the accelerator libraries and devices it maps."""
  process = pathlib.Path('/proc', str(pid))
  variables = process.joinpath('environ').read_bytes().decode(errors='replace').split('\0')
  platforms = [v.partition('=')[2] for v in variables if v.startswith('JAX_PLATFORMS=')]
  maps = process.joinpath('maps').read_text()
  return {
    'jax_platforms': ''.join(platforms),
    'accelerator_libraries': [name for name in LIBRARIES if name in maps],
  }


def variant_of(program: Program, name: str) -> Program:
  """Applies a variant to a program. Raises TraceError if the program lacks the text to replace."""
  edit = VARIANTS[name]
  if isinstance(edit, dict):
    return with_constants(program, edit)
  if program.text().count(edit[0]) != 1:
    raise gpt_setting.TraceError(f'The program must have {edit[0]!r} once; update VARIANTS.')
  return program.with_text(program.text().replace(*edit))


def steps(
  config: Config, program: Program, devices: int, max_seconds: float
) -> list[dict[str, Any]]:
  """Returns step times of the variants; fewer rows if the time runs out."""
  with tempfile.TemporaryDirectory() as folder:
    found = pathlib.Path(folder, 'found.json')
    arguments = [
      *(sys.executable, '-m', 'autoresearch_jax.measure.steps'),
      *(f'--platform={config.platform}', f'--out={found}'),
      f'--seconds={0.2 if SMOKE.value else 4}',
    ]
    for name in NAMES.value:
      gpt_setting.trace(config, variant_of(program, name), devices, pathlib.Path(folder, name))
      arguments.append(str(pathlib.Path(folder, name)))
    try:
      done = subprocess.run(
        arguments, capture_output=True, text=True, timeout=max_seconds, check=False
      )
      if done.returncode:
        print(done.stderr[-2000:], file=sys.stderr)
    except subprocess.TimeoutExpired:
      print(f'Timing took longer than {max_seconds:.0f} s; some variants are missing.')
    return msgspec.json.decode(found.read_bytes()) if found.exists() else []


def trial_figures(run: MeasuredTrial, model: GptShape) -> dict[str, Any]:
  """Returns the figures of a successful trial."""
  cost, facts = run.result.measurements[0].cost, run.result.facts
  peak = facts['peak_flops'] * facts['num_devices']
  second = cost.training_seconds / cost.steps
  seed = run.ended - run.began['train'] - cost.training_seconds
  return {
    'device': f'{facts["num_devices"]} x {facts["device"]}',
    'peak': f'{facts["peak_flops"] / 1e12:.1f} TFLOP/s each ({facts["peak_source"]})',
    'mfu_original': 100 * model.original() / second / peak,
    'mfu_needed': 100 * model.needed() / second / peak,
    'tokens_per_second': cost.tokens / cost.training_seconds,
    'step_seconds': second,
    'beyond_new_program': cost.trace_seconds + run.began['train'] - run.began['compile'] + seed,
    'beyond_seed': seed,
    'metrics': run.result.measurements[0].metrics,
    'cost': cost,
  }


def trial_rows(found: dict[str, Any]) -> list[tuple[str, str, str]]:
  """Returns rows of (quantity, measured value, original value or target)."""
  cost, mib = found['cost'], 2**20
  scores = {'val_bpb': f'the original: {gpt_setting.ORIGINAL_BPB}'}
  enough = 'reached' if found['mfu_original'] >= gpt_setting.TARGET_MFU else 'not reached'
  original = gpt_setting.ORIGINAL_STEPS * gpt_setting.ORIGINAL_BATCH_TOKENS / 300
  return [
    (
      "MFU by the original's formula",
      f'{found["mfu_original"]:.1f} %',
      f'{enough}: >= {gpt_setting.TARGET_MFU:g} %; the original: {gpt_setting.ORIGINAL_MFU} %',
    ),
    ('MFU, counting only visible keys', f'{found["mfu_needed"]:.1f} %', ''),
    ('MFU as trials report it', f'{cost.mfu_percent:.1f} %', 'without Pallas kernels'),
    ('tokens a second', f'{found["tokens_per_second"]:,.0f}', f'the original: {original:,.0f}'),
    ('training', f'{cost.training_seconds:.1f} s', ''),
    ('steps', f'{cost.steps:,}', f'the original: {gpt_setting.ORIGINAL_STEPS} in 300 s'),
    *((name, f'{value:.4f}', scores.get(name, '')) for name, value in found['metrics'].items()),
    (
      'memory, compiler analysis',
      f'{cost.analysis_bytes / mib:,.0f} MiB',
      f'the original: {gpt_setting.ORIGINAL_PEAK_MIB:,.0f} MiB',
    ),
    ('memory, allocator peak', f'{cost.allocator_bytes / mib:,.0f} MiB', ''),
    ('trace', f'{cost.trace_seconds:.1f} s', '<= 1 s'),
    ('compile', f'{cost.compile_seconds:.1f} s', ''),
    ('evaluate', f'{cost.evaluate_seconds:.1f} s', ''),
    ('beyond the budget, new program', f'{found["beyond_new_program"]:.1f} s', ''),
    ('beyond the budget, another seed', f'{found["beyond_seed"]:.1f} s', ''),
    ('compilations while training', str(cost.compilations_in_clock), '0'),
  ]


def step_rows(row: dict[str, Any], model: GptShape) -> list[tuple[str, str, str]]:
  """Returns the rows of one variant."""
  kernels = ', '.join(f'{n} {name}' for name, n in row['kernels'].items()) or 'no kernel'
  mfu = 100 * model.original() / row['looped'] / (row['peak_flops'] * row['num_devices'])
  return [
    (
      f'step, {row["variant"]}',
      f'{1000 * row["looped"]:.2f} ms',
      f'{mfu:.1f} % MFU; {kernels}; {row["analysis_bytes"] / 2**20:,.0f} MiB; compiled in '
      f'{row["compile_seconds"]:.0f} s',
    ),
    (
      '  one step per call',
      f'{1000 * row["queued"]:.2f} ms',
      f'above: {row["steps_per_call"]} per call',
    ),
    ('  and synchronous', f'{1000 * row["waited"]:.2f} ms', ''),
  ]


def format_rows(rows: list[tuple[str, str, str]]) -> str:
  widths = [max(len(row[i]) for row in rows) for i in (0, 1)]
  return '\n'.join(f'{a:<{widths[0]}}  {b:>{widths[1]}}  {c}'.rstrip() for a, b, c in rows)


def main(arguments: list[str]) -> int:
  if len(arguments) > 1 or set(NAMES.value) - set(VARIANTS):
    raise app.UsageError(f'Only flags are accepted; the variants are {", ".join(VARIANTS)}.')
  try:
    return measure()
  except (ConfigError, OSError, RuntimeError, SandboxError, gpt_setting.TraceError) as error:
    print(error, file=sys.stderr)
    return command.BAD_INPUT


def measure() -> int:
  """Measures everything, the most important first. Returns the exit code."""
  began = time.monotonic()
  config, dataset, data = setting()
  program = starting_program(config)
  model = GptShape.of(program, build_task(config).spec)
  found: dict[str, Any] = {
    'data': data,
    'jax': importlib.metadata.version('jax'),
    'xla_flags': os.environ.get('XLA_FLAGS', ''),
    'budget': config.budget,
  }

  def write(**more: Any) -> None:
    found.update(more)
    pathlib.Path(OUT.value).write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1))

  if SMOKE.value:
    print('A tiny model on a CPU: the figures only show that this command works.')
  print(f'Data: {data}.', flush=True)
  devices = DEVICES.value
  if SECONDS.value:
    run = trial(config, dataset, program)
    write(result=run.result, tracer=run.tracer)
    if run.result.status is not Status.OK:
      print(f'The trial ended as {run.result.status}: {run.result.reason}')
      return 1
    figures = trial_figures(run, model)
    write(trained=figures)
    devices = run.result.facts['num_devices']
    libraries = ', '.join(run.tracer['accelerator_libraries']) or 'nothing'
    print(f'{figures["device"]}, peak {figures["peak"]}')
    print(
      f'The tracer has JAX_PLATFORMS={run.tracer["jax_platforms"]}, maps these accelerator '
      f'libraries: {libraries}; its sandbox: {run.result.isolation}'
    )
    print(format_rows(trial_rows(figures)), flush=True)
  left = MAX_SECONDS.value - (time.monotonic() - began)
  if left > MIN_FOR_STEPS:
    write(steps=steps(config, program, devices, left))
    print(
      format_rows(
        [line for row in found['steps'] for line in step_rows(row, model)] or [('', '', '')]
      )
    )
  else:
    print(f'Only {left:.0f} s of --max_seconds remain, so no steps are timed.')
  print(f'Wrote {OUT.value}; this took {time.monotonic() - began:.0f} s.')
  return 0


if __name__ == '__main__':
  app.run(main)
