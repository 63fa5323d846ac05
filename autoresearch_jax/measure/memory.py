"""Memory and FLOPs of the gpu and tpu variants of gpt_small, for chips that are not present.

  pip install '.[tpu]' '.[cuda]'     # the compilers for --chips; neither needs a device
  autoresearch measure memory [--chips=h100,v5e] [--micro=32,128] [--devices=4] [--out=FILE]

Each variant is traced by the real sandboxed tracer and compiled for each chip and micro-batch size
by the runner's own `compile_template`, for devices that are only described
(`jax.experimental.topologies`). So the memory is that of XLA's buffer assignment for the chip,
which is the number by which a runner rejects a program. It does not include workspaces that cuDNN
and cuBLAS allocate at run time, nor allocator fragmentation; for these the runner reserves 8 % of a
GPU's memory. Without a chip the compiler cannot autotune kernels, so kernels and memory may differ
slightly. If a chip's compiler is not installed, only the trace is shown.

A compilation takes one to two minutes on two idle cores. Step times are not measured: those `at
45 % MFU` are computed.
"""

import dataclasses
import os
import pathlib
import re
import tempfile
import time
from typing import Any

# Set before importing jax: it must not look for devices, nor libtpu for a metadata server.
os.environ['JAX_PLATFORMS'] = 'cpu'
os.environ.setdefault('TPU_SKIP_MDS_QUERY', '1')

import msgspec
from absl import app, flags
from jax.experimental import topologies

from autoresearch_jax.artifact import reader
from autoresearch_jax.artifact.reader import Artifact
from autoresearch_jax.config import from_config_dict, load
from autoresearch_jax.measure.gpt_setting import TARGET_MFU, GptShape, trace
from autoresearch_jax.programs.start import constants_of, starting_program, with_constants
from autoresearch_jax.runner import devices
from autoresearch_jax.runner.compile import ExecutableTemplate, compile_template
from autoresearch_jax.types import Platform

GB = 10**9
KERNELS = re.compile(r'custom_call_target="(__cudnn\$fmha\w+|tpu_custom_call)"')
COLLECTIVES = re.compile(r' (all-(?:gather|reduce|to-all)|reduce-scatter)(?:-start)?\(')

# Description of an H100 SXM for XLA (NVIDIA H100 white paper and CUDA programming guide, 9.0).
H100 = """
platform_name: "CUDA"
device_description_str: "NVIDIA H100 80GB HBM3"
runtime_version { major: 13 }
dnn_version_info { major: 9 minor: 8 }
gpu_device_info {
  cuda_compute_capability { major: 9 }
  core_count: 132 fpus_per_core: 128 clock_rate_ghz: 1.98
  device_memory_size: 85000000000 memory_bandwidth: 3350000000000 l2_cache_size: 52428800
  threads_per_block_limit: 1024 threads_per_core_limit: 2048 threads_per_warp: 32
  shared_memory_per_block: 49152 shared_memory_per_block_optin: 232448
  shared_memory_per_core: 233472
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
}
"""


@dataclasses.dataclass(frozen=True)
class Chip:
  """A chip to compile for. There is no TPU v4: its description has two devices per chip.

  Attributes:
    platform: Its platform.
    memory: Its memory, in bytes.
    topology: libtpu's name of its kind.
    dimensions: Dimensions of its mesh of chips.
    share: Fraction of the memory that a program may use.
  """

  platform: Platform
  memory: int
  topology: str = ''
  dimensions: int = 2
  share: float = 1.0

  def device_descriptions(self, count: int) -> list[Any]:
    """Describes 1 or 4 chips on one host. Raises if the compiler is not installed."""
    if self.platform == 'gpu':
      return topologies.get_topology_desc(
        '', 'cuda', topology=f'1x1x{count}', target_config=H100
      ).devices
    host = {1: (1, 1, 1), 4: (2, 2, 1)}[count]
    shape = 'x'.join(map(str, host[: self.dimensions]))
    name = f'{self.topology}:{shape}'
    return topologies.get_topology_desc(name, 'tpu', chips_per_host_bounds=host).devices


CHIPS = {
  'h100': Chip('gpu', 80 * GB, share=0.92),
  'v5e': Chip('tpu', 16 * GB, 'v5e'),
  'v6e': Chip('tpu', 32 * GB, 'v6e'),
  'v5p': Chip('tpu', 95 * GB, 'v5p', dimensions=3),
}
EXTRAS = {'gpu': 'cuda', 'tpu': 'tpu'}
KINDS = {'gpu': ('NVIDIA H100',), 'tpu': ('TPU v5 lite', 'TPU v6 lite', 'TPU v5p')}

WANTED = flags.DEFINE_list('chips', list(CHIPS), f'Chips to compile for: {", ".join(CHIPS)}.')
MICRO = flags.DEFINE_list('micro', [], "Values of MICRO_BATCH_SIZE; by default the config's.")
flags.register_validator(
  MICRO, lambda words: all(map(str.isdecimal, words)), 'must be a list of numbers'
)
DEVICES = flags.DEFINE_enum('devices', '1', ['1', '4'], 'Number of chips that share a batch.')
SET = flags.DEFINE_multi_string('set', [], 'Constant of the program, NAME=NUMBER; repeatable.')
OUT = flags.DEFINE_string('out', '', 'JSON file for the results.')
HLO = flags.DEFINE_string('hlo', '', 'Folder for the compiled modules as text.')


@dataclasses.dataclass(frozen=True)
class CompiledVariant:
  """A variant compiled for a chip. Memory is in bytes per device.

  Attributes:
    chip: Key of CHIPS.
    micro: Micro-batch size.
    devices: Number of devices.
    error: Why it does not compile; '' if it does.
    seconds: Time that compiling took.
    needed: Memory that the runner compares with the device's.
    arguments: Memory of state and batch.
    temporary: Memory of temporaries.
    donated: Memory of the state that is updated in place.
    steps_per_call: Train steps in one call.
    collectives: Number of collective operations, by name.
    kernels: Number of attention kernels in the compiled step, by name.
  """

  chip: str
  micro: int
  devices: int
  error: str = ''
  seconds: float = 0.0
  needed: int = 0
  arguments: int = 0
  temporary: int = 0
  donated: int = 0
  steps_per_call: int = 0
  collectives: dict[str, int] = dataclasses.field(default_factory=dict)
  kernels: dict[str, int] = dataclasses.field(default_factory=dict)


def show_trace(artifact: Artifact, model: GptShape, platform: str) -> dict[str, Any]:
  facts = artifact.facts()
  flops, needed = model.original(), model.needed()
  print(f'  modules: {facts["artifact_bytes"]:,} bytes, operations {facts["operations"]}')
  print(f'  parameters {facts["parameters"]:,}, state {facts["state_bytes"] / GB:.3f} GB')
  products = ', '.join(f'{k} {v / 1e12:.2f}' for k, v in facts['matmul_dtypes'].items())
  print(f'  TFLOP per step of {model.step_tokens:,} tokens: {needed / 1e12:.1f} needed, of which')
  print(f'    {model.attention() / 1e12:.1f} in attention; matmuls in the module: {products}')
  print(f"    {flops / 1e12:.1f} by the original's formula")
  for prefix in KINDS[platform]:
    seconds = flops / (TARGET_MFU / 100 * devices.PEAK_FLOPS[prefix][0])
    tokens = 300 / seconds * model.step_tokens
    print(
      f'  {prefix} at {TARGET_MFU:g} % MFU by that formula: {1000 * seconds:.0f} ms per step, '
      f'{tokens / 1e6:.0f} M tokens in 300 s'
    )
  return facts


def compiled_for(artifact: Artifact, name: str, micro: int, count: int) -> CompiledVariant:
  """Compiles an artifact for chips as a runner does."""
  start = time.monotonic()
  try:
    template = ExecutableTemplate.from_artifact(artifact)
    made = compile_template(template, CHIPS[name].device_descriptions(count), 0)
  except Exception as error:
    return CompiledVariant(name, micro, count, error=' '.join(str(error).split())[:300])
  step = made.phases[0]
  executable: Any = step.run
  memory, text = executable.memory_analysis(), executable.as_text()
  kernels, collectives = KERNELS.findall(text), COLLECTIVES.findall(text)
  if HLO.value:
    pathlib.Path(HLO.value, f'{name}_{micro}_{count}.hlo').write_text(text)
  return CompiledVariant(
    name,
    micro,
    count,
    seconds=time.monotonic() - start,
    needed=made.analysis_bytes,
    arguments=memory.argument_size_in_bytes,
    temporary=memory.temp_size_in_bytes,
    donated=memory.alias_size_in_bytes,
    steps_per_call=step.steps_per_call,
    collectives={name: collectives.count(name) for name in sorted(set(collectives))},
    kernels={name: kernels.count(name) for name in sorted(set(kernels))},
  )


def show_row(row: CompiledVariant) -> None:
  chip = CHIPS[row.chip]
  where = f'  {row.chip} x {row.devices}, micro-batch {row.micro}'
  if row.error:
    print(f'{where}: not compiled: {row.error}', flush=True)
    if 'topolog' in row.error or 'plugin' in row.error.lower():
      print(f"    To install the compiler: pip install '.[{EXTRAS[chip.platform]}]'")
    return
  available = chip.memory * chip.share
  fits = 'fits' if row.needed <= available else 'DOES NOT FIT'
  kernels = ', '.join(f'{n} {kernel}' for kernel, n in row.kernels.items()) or 'no kernel'
  print(
    f'{where}: {row.needed / GB:.2f} GB of {available / GB:.1f}, {fits}; state and batch '
    f'{row.arguments / GB:.2f}, temporary {row.temporary / GB:.2f}, donated '
    f'{row.donated / GB:.2f}; {row.steps_per_call} steps per call; attention by {kernels}; '
    f'{row.seconds:.0f} s to compile',
    flush=True,
  )
  if row.devices > 1:
    print(f'    collectives: {row.collectives}')


def main(arguments: list[str]) -> None:
  if len(arguments) > 1 or set(WANTED.value) - set(CHIPS):
    raise app.UsageError(f'There are flags alone, and the chips {", ".join(CHIPS)}.')
  constants = {
    k: float(v) if '.' in v else int(v) for k, _, v in (s.partition('=') for s in SET.value)
  }
  found: list[dict[str, Any]] = []
  for platform in dict.fromkeys(CHIPS[name].platform for name in WANTED.value):
    config = from_config_dict(load(f'gpt_small:{platform}'))
    start = with_constants(starting_program(config), constants)
    count = int(DEVICES.value)
    for micro in map(int, MICRO.value or [constants_of(start)['MICRO_BATCH_SIZE']]):
      program = with_constants(start, {'MICRO_BATCH_SIZE': micro})
      with tempfile.TemporaryDirectory() as scratch:
        out = pathlib.Path(scratch, 'artifact')
        trace(config, program, count, out)
        artifact = reader.read(out, config.limits)
      print(f'{platform}, micro-batch {micro}, traced by the sandboxed tracer:')
      facts = show_trace(artifact, GptShape.of(program, artifact.spec), platform)
      for name in WANTED.value:
        if CHIPS[name].platform == platform:
          row = compiled_for(artifact, name, micro, count)
          show_row(row)
          found.append({**dataclasses.asdict(row), 'facts': facts})
  if OUT.value:
    pathlib.Path(OUT.value).write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1))


if __name__ == '__main__':
  app.run(main)
