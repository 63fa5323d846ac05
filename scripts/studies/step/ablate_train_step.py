"""What each step towards a fast train step on this CPU gains: with all of them, and without one.

  python ablate_train_step.py [--size='cpu variant'] [--rounds=10]

Each variant is a process of its own, since some are decided when a process starts; they take turns
with one call each, so that a busy machine is busy for all. Printed as a Markdown table: the median
time of a step, the median over the rounds of its ratio to "all", and the seconds that the step
took to compile. Losses of the first call must agree to 1e-3, whatever is left out.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import gpt_step
import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from autoresearch_jax.ops import cross_entropy, linear
from autoresearch_jax.programs.gpt import model as program

ROUNDS = flags.DEFINE_integer('rounds', 10, 'Calls that are timed, of each variant.', 1)
STEPS = flags.DEFINE_integer('steps', 4, 'Training steps in one call.', 1)
SIZE = flags.DEFINE_enum('size', 'cpu variant', list(gpt_step.SIZES), 'Of the program.')
ONLY = flags.DEFINE_list('only', [], 'Variants besides "all", by the start of their names.')
SERVE = flags.DEFINE_string('serve', '', 'A variant: answer lines on the input with timed calls.')


def plain_attention(q, k, v, *, window: int, platform: str) -> jax.Array:
  del platform
  return jax.nn.dot_product_attention(q, k, v, is_causal=True, local_window_size=(window, 0))


def plain_cross_entropy(x, head, targets, cap: float) -> jax.Array:
  logits = jax.nn.log_softmax(cross_entropy.softcap(x @ head, cap))
  return -jnp.mean(jnp.take_along_axis(logits, targets[:, None], axis=1))


def without_attention() -> None:
  program.attention = plain_attention


def without_linear() -> None:
  program.linear = jnp.matmul


def without_upright_factors() -> None:
  linear._over_rows_on_cpu = linear._over_rows


def without_cross_entropy() -> None:
  program.softcap_cross_entropy = plain_cross_entropy


def without_all() -> None:
  without_attention()
  without_linear()
  without_cross_entropy()


def without_older_emitters() -> None:
  gpt_step.CPU_COMPILER_OPTIONS['xla_cpu_use_fusion_emitters'] = True


def nothing() -> None:
  pass


# What is left out: how, what the process is started with, and the steps of a call.
VARIANTS: dict[str, tuple[Callable[[], None], dict[str, str], int]] = {
  'all': (nothing, {}, 0),
  'attention in blocks (jax.nn.dot_product_attention)': (without_attention, {}, 0),
  'products with gradients of their own (autodiff of @)': (without_linear, {}, 0),
  'upright factors in gradients of weights': (without_upright_factors, {}, 0),
  'cross-entropy in chunks (log_softmax)': (without_cross_entropy, {}, 0),
  'several steps a call': (nothing, {}, 1),
  'huge pages': (nothing, {'GLIBC_TUNABLES': 'glibc.malloc.hugetlb=0'}, 0),
  "XLA's older emitters": (without_older_emitters, {}, 0),
  'attention, products, cross-entropy and several steps': (without_all, {}, 1),
}


def main(_) -> None:
  if SERVE.value:
    serve(SERVE.value)
    return
  chosen = [v for v in VARIANTS if v == 'all' or v.startswith(tuple(ONLY.value or ['']))]
  processes = {name: start(name) for name in chosen}
  first = {name: answer(process) for name, process in processes.items()}
  for name, said in first.items():
    difference = np.abs(np.subtract(said['losses'], first['all']['losses'])).max()
    assert difference < 1e-3, f'Without {name} the losses differ by {difference}.'
  seconds = {name: [] for name in chosen}
  for turn in range(ROUNDS.value):
    for name in chosen if turn % 2 else chosen[::-1]:
      seconds[name].append(answer(processes[name])['seconds'])
  for process in processes.values():
    process.communicate()
  print(f'| {SIZE.value}, without | ms a step | ratio to all | compiles in s |\n|---|---|---|---|')
  for name in chosen:
    ratio = statistics.median(a / b for a, b in zip(seconds[name], seconds['all'], strict=True))
    middle = 1000 * statistics.median(seconds[name])
    name_or_none = 'nothing: all steps' if name == 'all' else name
    print(f'| {name_or_none} | {middle:.1f} | {ratio:.2f} | {first[name]["compile"]:.1f} |')


def start(name: str) -> subprocess.Popen[str]:
  environment = os.environ | gpt_step.ENVIRONMENT | VARIANTS[name][1]
  return subprocess.Popen(
    [sys.executable, *sys.argv, f'--serve={name}'],
    env=environment,
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    text=True,
  )


def answer(process: subprocess.Popen[str]) -> dict[str, Any]:
  """Of a variant's process to one line: what it printed after its next call."""
  assert process.stdin and process.stdout
  process.stdin.write('\n')
  process.stdin.flush()
  return json.loads(process.stdout.readline())


def serve(name: str) -> None:
  """Compiles and trains for two calls on the first line, and for one on each that follows."""
  leave_out, _, a_call = VARIANTS[name]
  gpt_step.resize(SIZE.value)
  leave_out()
  inputs, targets = gpt_step.random_batches(STEPS.value)
  sys.stdin.readline()
  steps = gpt_step.train_steps(inputs, targets, a_call)
  losses = steps.run()
  steps.run()
  say({'losses': losses.tolist(), 'compile': steps.compile_seconds})
  for _ in sys.stdin:
    began = time.perf_counter()
    steps.run()
    say({'seconds': (time.perf_counter() - began) / len(inputs)})


def say(message: dict[str, Any]) -> None:
  print(json.dumps(message), flush=True)


if __name__ == '__main__':
  app.run(main)
