"""The original's setting on this machine's accelerator, against the original's figures.

  python scripts/measure_accelerator.py                 # on a GPU or a TPU: less than 9 minutes
  python scripts/measure_accelerator.py --seconds=60
  python scripts/measure_accelerator.py --smoke         # a tiny one on a CPU, in seconds

The unmodified program of the variant `gpu` or `tpu` of configs/gpt_small.py is trained once for
300 s by the real executor: sandboxed tracer, artifact, runner. Then the same program, and one
whose attention is `ops.attention.blocked` in place of the platform's kernel, are timed step by
step (scripts/measure_steps.py). What is printed as a table goes to a JSON file after each part, so
that a time limit loses the rest alone; parts that no time is left for are named.

ClimbMix is used where `python -m autoresearch_jax.data.prepare` has fetched it. Elsewhere the text
that ships with Python stands in, with the same shapes: speed and memory are the same, and the
score means nothing beside the original's. XLA_FLAGS are passed on and recorded, so that a flag
is measured by running this with it and without.
"""

import importlib.metadata
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from typing import Any

import gpt_setting
import msgspec
from absl import app, flags
from gpt_setting import Model

from autoresearch_jax import assembly
from autoresearch_jax.config import Config, from_config_dict
from autoresearch_jax.data import shards
from autoresearch_jax.executors import probe
from autoresearch_jax.problems.start import starting_program
from autoresearch_jax.types import Dataset, Program, Progress, Result, Status, TrialRequest
from configs import gpt_small

SECONDS = flags.DEFINE_float('seconds', 300.0, 'Training time; the original has 300.', 0.5)
MOST = flags.DEFINE_float('most_seconds', 530.0, 'For everything; parts are left out for it.')
SMOKE = flags.DEFINE_bool('smoke', False, 'A tiny model on a CPU, for a second.')
OUT = flags.DEFINE_string('out', 'accelerator.json', 'JSON file for everything that was found.')
SEED = flags.DEFINE_integer('seed', 0, 'Of the training run.', 0)

TINY = {'DEPTH': 2, 'ASPECT_RATIO': 16, 'HEAD_DIM': 16, 'BATCH_SIZE': 4, 'MICRO_BATCH_SIZE': 2}
KERNEL = 'attention(q, k, v, window=window, platform=platform)'
# No platform of ours, so no kernel: `blocked`, which computes its weights again for the gradient.
NO_KERNEL = "attention(q, k, v, window=window, platform='any')"
LIBRARIES = ('libcuda', 'libtpu', '/dev/nvidia', '/dev/accel', '/dev/vfio')
LEAST_FOR_STEPS = 60.0  # seconds; compiling two programs and timing them


def setting() -> tuple[Config, Dataset, str]:
  """The run's config, its data, and a sentence on what the data are."""
  variant = 'cpu' if SMOKE.value else probe.platform()
  if variant == 'cpu' and not SMOKE.value:
    sys.exit('JAX finds a CPU alone here; --smoke tries this script on one.')
  values = gpt_small.get_config(variant).unlock()
  values.budget.amount = min(SECONDS.value, 1.0) if SMOKE.value else SECONDS.value
  if SMOKE.value:
    values.constants.update(TINY)
  try:
    config = from_config_dict(values)
    return config, assembly.dataset(config, print), f'{config.data["corpus"]}, as the config has it'
  except shards.Missing as missing:
    said = (
      'the text that ships with Python, which is small: the model sees it again and again, so '
      f'val_bpb is no score to compare ({missing})'
    )
  values.data.corpus = 'python'
  values.data.validation_tokens = values.data.evaluation_batch * values.data.sequence_length
  values.data.locked_tokens = 0
  config = from_config_dict(values)
  return config, assembly.dataset(config, print), said


def trial(config: Config, dataset: Dataset, program: Program) -> tuple[Result, dict[str, Any]]:
  """The trial's result, and what was seen of the tracer's process while it went on."""
  with tempfile.TemporaryDirectory() as scratch:
    executor: Any = assembly.executor(config, dataset, pathlib.Path(scratch))
    tracer: dict[str, Any] = {}
    try:
      executor.submit(TrialRequest(0, program, (SEED.value,), config.budget))
      while True:
        for news in executor.wait(1.0):
          if isinstance(news, Result):
            return news, tracer
          if isinstance(news, Progress) and news.phase == 'compile':
            tracer = seen(executor.pids()['tracer'])  # traced a moment ago, in a fork of it
    finally:
      executor.close()


def seen(pid: int | None) -> dict[str, Any]:
  """What a process may use: JAX's platforms, and any accelerator's library or device it maps."""
  process = pathlib.Path('/proc', str(pid))
  variables = process.joinpath('environ').read_bytes().decode(errors='replace').split('\0')
  platforms = [v.partition('=')[2] for v in variables if v.startswith('JAX_PLATFORMS=')]
  maps = process.joinpath('maps').read_text()
  return {
    'jax_platforms': ''.join(platforms),
    'accelerator_libraries': [name for name in LIBRARIES if name in maps],
  }


def steps(config: Config, program: Program, devices: int, most: float) -> list[dict[str, Any]]:
  """Step times with the platform's attention and without. Fewer rows when the time is over."""
  text = program.text()
  if text.count(KERNEL) != 1:
    raise gpt_setting.DoesNotTrace(f'The program does not call {KERNEL!r} once; mend this script.')
  programs = {'kernel': program, 'blocked': program.with_text(text.replace(KERNEL, NO_KERNEL))}
  with tempfile.TemporaryDirectory() as folder:
    paths = [pathlib.Path(folder, name) for name in programs]
    for path, made in zip(paths, programs.values(), strict=True):
      gpt_setting.trace(config, made, devices, path)
    found = pathlib.Path(folder, 'found.json')
    command = [
      *(sys.executable, str(pathlib.Path(__file__).with_name('measure_steps.py'))),
      *(f'--platform={config.platform}', f'--out={found}'),
      *(f'--seconds={0.2 if SMOKE.value else 4}', *map(str, paths)),
    ]
    try:
      done = subprocess.run(command, capture_output=True, text=True, timeout=most, check=False)
      if done.returncode:
        print(done.stderr[-2000:], file=sys.stderr)
    except subprocess.TimeoutExpired:
      print(f'The steps took longer than {most:.0f} s; what is missing was not timed.')
    return msgspec.json.decode(found.read_bytes()) if found.exists() else []


def trained(result: Result, model: Model) -> dict[str, Any]:
  """The figures of the trial."""
  cost, facts = result.measurements[0].cost, result.facts
  peak = facts['peak_flops'] * facts['num_devices']
  second = cost.training_seconds / cost.steps
  return {
    'device': f'{facts["num_devices"]} x {facts["device"]}',
    'peak_flops': f'{facts["peak_flops"] / 1e12:.1f} TFLOP/s a device ({facts["peak_source"]})',
    'mfu_original': 100 * model.original() / second / peak,
    'mfu_needed': 100 * model.needed() / second / peak,
    'mfu_reported': cost.mfu_percent,
    'tokens_per_second': cost.tokens / cost.training_seconds,
    'steps': cost.steps,
    'step_seconds': second,
    'training_seconds': cost.training_seconds,
    'tokens': cost.tokens,
    'metrics': result.measurements[0].metrics,
    'analysis_bytes': cost.analysis_bytes,
    'allocator_bytes': cost.allocator_bytes,
    'trace_seconds': cost.trace_seconds,
    'compile_seconds': cost.compile_seconds,
    'evaluate_seconds': cost.evaluate_seconds,
    'beyond_budget_new': cost.total_seconds - cost.training_seconds,
    'beyond_budget_seed': cost.total_seconds
    - cost.training_seconds
    - cost.trace_seconds
    - cost.compile_seconds,
    'compilations_in_clock': cost.compilations_in_clock,
    'steps_per_call': facts['steps_per_call'],
    'parameters': cost.parameters,
  }


def table(found: dict[str, Any]) -> list[str]:
  """Lines: what, measured, and the original's figure or the target."""
  t, mib = found['trained'], 2**20
  scores = {'val_bpb': f'the original: {gpt_setting.ORIGINAL_BPB}'}
  enough = 'reached' if t['mfu_original'] >= gpt_setting.TARGET_MFU else 'NOT reached'
  rows = [
    ("MFU, the original's formula", f'{t["mfu_original"]:.1f} %',
     f'>= {gpt_setting.TARGET_MFU:g} %, {enough}; the original: {gpt_setting.ORIGINAL_MFU} %'),
    ('MFU, keys that are seen', f'{t["mfu_needed"]:.1f} %', ''),
    ('tokens a second', f'{t["tokens_per_second"]:,.0f}', 'the original: 1,665,000'),
    ('steps', f'{t["steps"]} in {t["training_seconds"]:.1f} s',
     f'the original: {gpt_setting.ORIGINAL_STEPS} in 300 s'),
    *((name, f'{value:.4f}', scores.get(name, '')) for name, value in t['metrics'].items()),
    ('memory by analysis', f'{t["analysis_bytes"] / mib:,.0f} MiB',
     f'the original: {gpt_setting.ORIGINAL_PEAK_MIB:,.0f} MiB'),
    ('memory by the allocator', f'{t["allocator_bytes"] / mib:,.0f} MiB', ''),
    ('trace', f'{t["trace_seconds"]:.1f} s', '<= 1 s'),
    ('compile', f'{t["compile_seconds"]:.1f} s', ''),
    ('evaluate', f'{t["evaluate_seconds"]:.1f} s', ''),
    ('beyond the budget, new program', f'{t["beyond_budget_new"]:.1f} s', ''),
    ('beyond the budget, another seed', f'{t["beyond_budget_seed"]:.1f} s', ''),
    ('compilations in the clock', str(t['compilations_in_clock']), '0'),
  ]  # fmt: skip
  for row in found.get('steps', ()):
    kernels = ', '.join(f'{n} {name}' for name, n in row['kernels'].items()) or 'no kernel'
    rows += [
      (f'step, {row["artifact"]} attention', f'{1000 * row["looped"]:.2f} ms', kernels),
      (
        '  one step a call; and waited for',
        f'{1000 * row["queued"]:.2f}; {1000 * row["waited"]:.2f} ms',
        f'{row["steps_per_call"]} a call otherwise; compiled in {row["compile_seconds"]:.0f} s',
      ),
    ]
  wide = [max(len(row[i]) for row in rows) for i in (0, 1)]
  return [f'{a:<{wide[0]}}  {b:>{wide[1]}}  {c}'.rstrip() for a, b, c in rows]


def main(arguments: list[str]) -> int:
  if len(arguments) > 1:
    raise app.UsageError(f'{arguments[1]!r} is not understood; there are flags alone.')
  began = time.monotonic()
  config, dataset, data = setting()
  program = starting_program(config)
  model = Model.of(program, assembly.spec(config))
  found: dict[str, Any] = {
    'data': data,
    'xla_flags': os.environ.get('XLA_FLAGS', ''),
    'jax': importlib.metadata.version('jax'),
    'budget_seconds': config.budget.amount,
  }

  def write() -> None:
    pathlib.Path(OUT.value).write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1))

  print(f'Data: {data}.', flush=True)
  result, found['tracer'] = trial(config, dataset, program)
  found['result'] = result
  if result.status is not Status.OK:
    write()
    print(f'The trial ended as {result.status}: {result.reason}')
    return 1
  found['trained'] = trained(result, model)
  write()
  left = MOST.value - (time.monotonic() - began)
  if SMOKE.value or left > LEAST_FOR_STEPS:
    found['steps'] = steps(config, program, result.facts['num_devices'], left)
    write()
  else:
    print(f'{left:.0f} s are left of --most_seconds, so the steps are not timed.')
  print(f'{found["trained"]["device"]}, peak {found["trained"]["peak_flops"]}')
  tracer = found['tracer']
  print(
    f'The tracer ran with JAX_PLATFORMS={tracer["jax_platforms"]} and has mapped of accelerators: '
    f'{", ".join(tracer["accelerator_libraries"]) or "nothing"}; {result.isolation}'
  )
  print('\n'.join(table(found)))
  print(f'Everything is in {OUT.value}; it took {time.monotonic() - began:.0f} s.')
  return 0


if __name__ == '__main__':
  app.run(main)
