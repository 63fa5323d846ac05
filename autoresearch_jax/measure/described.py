"""Step time of a program on TPUs that need not be present, by XLA's own estimates.

  pip install '.[described]'     # libtpu's wheel, which compiles for chips that are only described
  autoresearch measure described [--chip=v5e,v6e,v5p,v4,v7x] [--devices=1,4,8] [--constants=DEPTH=2]
  autoresearch measure described --program=FOLDER --config=NAME     # an own program

The train step is traced by the sandboxed tracer and compiled as a runner would. XLA annotates most
operations with an estimate in cycles; they are summed up by kind, each as often as it runs, at the
clock of the chip, which is derived from its peak FLOP/s. Kernels (attention) carry no estimate, so
a step takes longer than is shown.

FLOPs are those of the matrix products of the compiled step on one chip. Of n chips each should have
1/n of one chip's; `note` says why if not. Compiling takes minutes of CPU time; DEPTH=2 less.
"""

import pathlib
import tempfile

import msgspec
from absl import app, flags
from ml_collections import ConfigDict

from autoresearch_jax.artifact import reader
from autoresearch_jax.artifact.reader import Artifact
from autoresearch_jax.config import ConfigError, from_config_dict, load
from autoresearch_jax.measure.described_step import CHIPS, KINDS, DescribedStep, describe
from autoresearch_jax.measure.gpt_setting import TraceError, trace
from autoresearch_jax.programs.start import starting_program, with_constants

GB, TERA = 1e9, 1e12

CONFIG = flags.DEFINE_string('config', 'gpt_small:tpu', 'Config: problem, data and program.')
PROGRAM = flags.DEFINE_string('program', '', 'Folder of another program, with its entry file.')
CHIP = flags.DEFINE_list('chip', ['v5e', 'v6e'], f'Chips: {", ".join(CHIPS)}.')
DEVICES = flags.DEFINE_list('devices', ['1'], 'Numbers of devices that share a batch: 1, 4, 8.')
CONSTANTS = flags.DEFINE_list('constants', [], 'Constants of the program, NAME=NUMBER.')
TOP = flags.DEFINE_integer('top', 8, 'Operations to list, by their time.', lower_bound=0)
HLO = flags.DEFINE_string('hlo', '', 'Folder for the compiled modules as text.')
OUT = flags.DEFINE_string('out', '', 'JSON file for the results.')


def show(step: DescribedStep, one: DescribedStep | None) -> None:
  """Prints a row of the table, and what dominates.

  Args:
    step: The step.
    one: The same on one device, if it was compiled.
  """
  total = sum(step.milliseconds.values())
  kinds = ''.join(f'{step.milliseconds[kind]:>13.1f}' for kind in KINDS[:-1])
  print(f'{step.chip + " x " + str(step.devices):<9}{total:>9.1f}{kinds}', end='')
  print(f'{step.memory_bytes / GB:>8.2f}{step.compile_cpu_seconds:>9.0f}', flush=True)
  flops = f'{step.product_flops / TERA:.2f} TFLOP of products a device'
  if one and step.devices > 1:
    flops += f' ({step.product_flops * step.devices / one.product_flops:.3f} of 1/{step.devices})'
  rows = ', '.join(map(str, step.kernel_rows))
  kernels = f', {step.kernels} kernels of {rows} rows (no estimate)' if step.kernels else ''
  collectives = ', '.join(f'{n} {name}' for name, n in step.collectives.items() if n)
  print(f'    {flops}{kernels}{", " + collectives if collectives else ""}')
  if step.note:
    print(f'    {step.note}')
  for milliseconds, kind, type_ in step.largest[: TOP.value]:
    print(
      f'    {milliseconds:9.1f} ms {100 * milliseconds / max(total, 1e-9):3.0f} % {kind} {type_}'
    )


def main(arguments: list[str]) -> None:
  counts = [int(word) for word in DEVICES.value if word.isdecimal()]
  if len(arguments) > 1 or set(CHIP.value) - set(CHIPS) or {*counts} - {1, 4, 8} or not counts:
    raise app.UsageError(f'Give --chip of {", ".join(CHIPS)}, and --devices of 1, 4, 8.')
  raw = load(CONFIG.value)
  if PROGRAM.value:
    raw.program = str(pathlib.Path(PROGRAM.value).resolve())
    raw.constants = ConfigDict()  # the other program's
  try:
    measure(raw, counts)
  except (ConfigError, TraceError) as error:
    raise app.UsageError(str(error)) from None


def measure(raw: ConfigDict, counts: list[int]) -> None:
  """Compiles the program of a config for every chip and number of devices, and prints the table."""
  config = from_config_dict(raw)
  pairs = (word.partition('=') for word in CONSTANTS.value)
  constants = {name: float(value) if '.' in value else int(value) for name, _, value in pairs}
  program = with_constants(starting_program(config), constants)
  print(f'{"":<9}{"ms":>9}{"".join(f"{kind:>13}" for kind in KINDS[:-1])}{"GB":>8}{"CPU s":>9}')
  found: list[DescribedStep] = []
  with tempfile.TemporaryDirectory() as scratch:
    artifacts: dict[int, Artifact] = {}
    for count in sorted({*counts}):
      out = pathlib.Path(scratch, f'artifact_{count}')
      trace(config, program, count, out)
      artifacts[count] = reader.read(out, config.limits)
    for name in CHIP.value:
      for count, artifact in artifacts.items():
        hlo = pathlib.Path(HLO.value, f'{name}_{count}.hlo') if HLO.value else None
        try:
          step = describe(artifact, name, count, hlo)
        except Exception as error:  # libtpu raises anything for a chip that it does not know
          print(f'{name} x {count}: not compiled: {" ".join(str(error).split())[:300]}')
          if 'libtpu' in str(error) or 'plugin' in str(error).lower():
            print("    To install the compiler: pip install '.[described]'")
          continue
        one = next((each for each in found if each.chip == name and each.devices == 1), None)
        show(step, one)
        found.append(step)
  if OUT.value:
    pathlib.Path(OUT.value).write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1))


if __name__ == '__main__':
  app.run(main)
