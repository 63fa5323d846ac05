"""Our train step against torch.compile's, on this CPU: same model, shapes, weights and batches.

    pip install -e '.[bench]' && python scripts/train_step_vs_torch.py

Prints, for two sizes, the median, fastest and slowest time of a step on both sides, and the ratio
of the medians; the two take turns in one process, so that a busy machine is busy for both. Ours
is what a trial runs: exported, compiled ahead of time, several steps a call with donated state.
Theirs is the same formulas with torch.compile over the loss (forward and backward) and over each
optimizer rule. Before the clock runs, both train a few steps from the same weights, and their
losses must agree to 1e-3; else the script ends with an AssertionError.
"""

import functools
import importlib
import math
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
import torch  # pyright: ignore[reportMissingImports] - the extra `bench`, which CI does not install
import torch.nn.functional as F  # pyright: ignore[reportMissingImports]
from absl import app, flags
from jax import export

from autoresearch_jax import types
from autoresearch_jax.programs.gpt import model as program

# As the runner has it: XLA options that compile in 0.4 of the time for steps 0 to 5 % slower, and,
# for both sides, large pages for large buffers (first touches of small pages can cost more than
# the arithmetic). They are read when a process starts, hence the second start in `main`.
ENVIRONMENT = {
  'JAX_PLATFORMS': 'cpu',
  'GLIBC_TUNABLES': 'glibc.malloc.hugetlb=1',
  'XLA_FLAGS': '--xla_backend_extra_options=xla_cpu_disable_new_fusion_emitters,'
  'xla_cpu_disable_loop_unrolling,xla_cpu_optimize_for_size',
}
ROUNDS = flags.DEFINE_integer('rounds', 12, 'Calls that are timed, on each side.')
STEPS = flags.DEFINE_integer('steps', 4, 'Training steps in one call.')
SIZES = {
  'cpu variant': {'DEPTH': 2, 'ASPECT_RATIO': 64, 'HEAD_DIM': 64, 'BATCH_SIZE': 8},
  'PERFORMANCE.md': {'DEPTH': 4, 'ASPECT_RATIO': 64, 'HEAD_DIM': 64, 'BATCH_SIZE': 16},
}
VOCAB, TIME = 1024, 256
PROGRESS = 0.25


def main(_) -> None:
  if not ENVIRONMENT.items() <= os.environ.items():
    os.environ |= ENVIRONMENT
    os.execv(sys.executable, [sys.executable, *sys.argv])
  torch.set_num_threads(os.cpu_count() or 1)
  for name, constants in SIZES.items():
    compare(name, constants)


def compare(name: str, constants: dict[str, int]) -> None:
  importlib.reload(program)
  for constant, value in constants.items():
    setattr(program, constant, value)
  inputs, targets = random_batches(constants['BATCH_SIZE'])
  ours, leaves = our_steps(inputs, targets)
  theirs = TorchProgram(leaves, inputs, targets)
  check_agreement(ours(), theirs())
  ours()
  theirs()  # torch.compile may compile once more when it sees the updated parameters
  times = {ours: [], theirs: []}
  for _ in range(ROUNDS.value):
    for run, seconds in times.items():
      start = time.perf_counter()
      run()
      seconds.append((time.perf_counter() - start) / STEPS.value)
  medians = [statistics.median(seconds) for seconds in times.values()]
  for side, seconds in zip(('ours', 'torch.compile'), times.values(), strict=True):
    low, middle, high = (1000 * f(seconds) for f in (min, statistics.median, max))
    print(f'{name:15} {side:14} {middle:7.1f} ms a step (from {low:.1f} to {high:.1f})')
  pairs = [a / b for a, b in zip(*times.values(), strict=True)]
  print(
    f'{name:15} ours / torch   {medians[0] / medians[1]:7.2f} '
    f'(pairs from {min(pairs):.2f} to {max(pairs):.2f}, median {statistics.median(pairs):.2f})'
  )


def random_batches(batch_size: int) -> tuple[np.ndarray, np.ndarray]:
  """Inputs and targets, int32 [steps, batch, time]."""
  rng = np.random.default_rng(0)
  rows = rng.integers(0, VOCAB, (STEPS.value, batch_size, TIME + 1)).astype(np.int32)
  return rows[..., :-1].copy(), rows[..., 1:].copy()


def check_agreement(ours: np.ndarray, theirs: np.ndarray) -> None:
  difference = np.abs(ours - theirs).max()
  print(f'losses of the first {len(ours)} steps differ by at most {difference:.1e}')
  assert difference < 1e-3, f'The two sides train differently: {ours} against {theirs}.'


# Ours.


def our_steps(inputs: np.ndarray, targets: np.ndarray) -> tuple[Callable[[], np.ndarray], dict]:
  """A function that trains on all batches in one call, and the weights it starts from."""
  budget = types.Budget(60)
  spec = types.Spec('language_model', 'cpu', 1, budget, vocab_size=VOCAB, sequence_length=TIME)
  state = jax.jit(lambda key: program.init(key, spec))(jax.random.key(0))
  # Output projections and gates start at zero; moved, so that they take part in the comparison.
  state = jax.tree.map(lambda x: x if jnp.any(x) or x.ndim < 3 else jnp.full_like(x, 0.01), state)
  state = state._replace(optimizer=program.make_optimizer().init(state.model))
  leaves, structure = jax.tree.flatten(state)

  def step(leaves, inputs, targets, progress):
    state = jax.tree.unflatten(structure, leaves)
    batch = {'inputs': inputs, 'targets': targets}
    state, metrics = program.train_step(state, batch, progress)
    return jax.tree.leaves(state), metrics['loss']

  shapes = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), (leaves, inputs[0], targets[0])
  )
  exported = export.export(jax.jit(step))(*shapes, jax.ShapeDtypeStruct((), jnp.float32))

  @functools.partial(jax.jit, donate_argnums=0)
  def steps(leaves, inputs, targets, progress):
    def one(leaves, batch):
      leaves, loss = exported.call(leaves, *batch, progress)
      return leaves, loss

    return jax.lax.scan(one, leaves, (inputs, targets))

  named = jax.tree_util.tree_leaves_with_path(state.model)
  weights = {jax.tree_util.keystr(path[:-1]): np.array(leaf) for path, leaf in named}
  arguments = (inputs, targets, np.float32(PROGRESS))
  compiled = steps.lower(leaves, *arguments).compile()

  def run() -> np.ndarray:
    nonlocal leaves
    leaves, losses = compiled(leaves, *arguments)
    return np.array(losses)

  return run, weights


# Theirs.


class TorchProgram:
  """The same maths in torch: parameters are plain tensors, layers along the leading axis."""

  def __init__(self, weights: dict[str, np.ndarray], inputs: np.ndarray, targets: np.ndarray):
    self.batches = list(zip(torch.tensor(inputs).long(), torch.tensor(targets).long(), strict=True))
    names = {name.strip('.').split('.')[-1]: value for name, value in weights.items()}
    self.params = {n: torch.tensor(v, requires_grad=True) for n, v in names.items()}
    self.width = program.DEPTH * program.ASPECT_RATIO
    self.loss = torch.compile(functools.partial(torch_loss, rotary=torch_rotary()))
    self.adam = torch.compile(torch_adam)
    self.muon = torch.compile(torch_muon)
    matrices = ('q', 'k', 'v', 'out', 'up', 'down', 'value_gates')
    self.groups: dict[tuple[int, ...], list[str]] = {}
    for name in matrices:
      self.groups.setdefault(tuple(self.params[name].shape[1:]), []).append(name)
    self.step = 0
    self.first = {n: torch.zeros_like(p) for n, p in self.params.items() if n not in matrices}
    self.second = {n: torch.zeros_like(p) for n, p in self.first.items()}
    self.momentum = {s: torch.zeros_like(self.stack(s)) for s in self.groups}
    self.squares = {
      s: torch.zeros_like(m.mean(dim=short_axis(m), keepdim=True)) for s, m in self.momentum.items()
    }

  def stack(self, shape: tuple[int, ...], gradients: bool = False) -> torch.Tensor:
    stacks = (self.params[n] for n in self.groups[shape])
    return torch.cat([cast(torch.Tensor, p.grad) if gradients else p.detach() for p in stacks])

  def __call__(self) -> np.ndarray:
    return np.array([self.train_step(*batch) for batch in self.batches])

  def train_step(self, inputs: torch.Tensor, targets: torch.Tensor) -> float:
    loss = self.loss(self.params, inputs, targets)
    loss.backward()
    with torch.no_grad():
      self.update()
    for param in self.params.values():
      param.grad = None
    return float(loss.detach())

  def update(self) -> None:
    progress = jnp.float32(PROGRESS)
    rates = program.learning_rates(self.width, progress)
    beta = torch.tensor(float(program.momentum(jnp.int32(self.step))))
    decay = torch.tensor(float(program.weight_decay(progress)))
    self.step += 1
    for name, first in self.first.items():
      beta1 = program.SKIP_BETA1 if name == 'skip' else program.ADAM_BETA1
      corrections = (1 - b**self.step for b in (beta1, program.ADAM_BETA2))
      scalars = (torch.tensor(float(x)) for x in (rates[name], beta1, *corrections))
      self.adam(self.params[name], self.params[name].grad, first, self.second[name], *scalars)
    for shape, names in self.groups.items():
      rate = torch.tensor(float(rates['matrices']))
      params = self.stack(shape)
      self.muon(
        params,
        self.stack(shape, True),
        self.momentum[shape],
        self.squares[shape],
        rate,
        beta,
        decay,
      )
      parts = params.split([len(self.params[n]) for n in names])
      for name, part in zip(names, parts, strict=True):
        self.params[name].copy_(part)


def torch_rotary() -> tuple[torch.Tensor, torch.Tensor]:
  cos, sin = program.rotary_angles(TIME)
  return torch.tensor(np.array(cos)), torch.tensor(np.array(sin))


def torch_loss(params, inputs, targets, rotary) -> torch.Tensor:
  x = first = torch_norm(F.embedding(inputs, params['embedding']))
  valued = iter(range(len(params['value_gates'])))
  for i in range(program.DEPTH):
    x = params['residual'][i] * x + params['skip'][i] * first
    y = torch_norm(x)
    q, k, v = (torch_heads(y @ params[n][i]) for n in 'qkv')
    if program.has_value_embedding(i):
      j = next(valued)
      gate = 2 * torch.sigmoid(y[..., : program.VALUE_GATE_CHANNELS] @ params['value_gates'][j])
      v = v + gate[..., None] * torch_heads(F.embedding(inputs, params['value_embeddings'][j]))
    q, k = torch_norm(torch_rotate(q, rotary)), torch_norm(torch_rotate(k, rotary))
    y = torch_attention(q, k, v, program.window_of(i, TIME))
    x = x + y.reshape(x.shape) @ params['out'][i]
    x = x + F.relu(torch_norm(x) @ params['up'][i]).square() @ params['down'][i]
  cap = program.LOGIT_CAP
  logits = cap * torch.tanh(torch_norm(x) @ params['head'] / cap)
  return F.cross_entropy(logits.reshape(-1, VOCAB), targets.reshape(-1))


def torch_norm(x: torch.Tensor) -> torch.Tensor:
  return F.rms_norm(x, x.shape[-1:], eps=float(np.finfo(np.float32).eps))


def torch_heads(x: torch.Tensor) -> torch.Tensor:
  return x.reshape(*x.shape[:-1], -1, program.HEAD_DIM)


def torch_rotate(x: torch.Tensor, rotary) -> torch.Tensor:
  cos, sin = rotary
  a, b = x.chunk(2, dim=-1)
  return torch.cat([a * cos + b * sin, b * cos - a * sin], dim=-1)


def torch_attention(q, k, v, window: int) -> torch.Tensor:
  q, k, v = (x.transpose(1, 2) for x in (q, k, v))
  if window >= TIME - 1:
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
  else:
    back = torch.arange(TIME)[:, None] - torch.arange(TIME)
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=(back >= 0) & (back <= window))
  return y.transpose(1, 2)


def torch_adam(param, gradient, first, second, rate, beta1, correction1, correction2) -> None:
  first.lerp_(gradient, 1 - beta1)
  second.lerp_(gradient.square(), 1 - program.ADAM_BETA2)
  denominator = (second / correction2).sqrt() + program.ADAM_EPS
  param.sub_(rate * (first / correction1) / denominator)


def short_axis(x: torch.Tensor) -> int:
  return 1 if x.shape[1] <= x.shape[2] else 2


def torch_muon(params, gradient, first, squares, rate, beta, decay) -> None:
  first.lerp_(gradient, 1 - beta)
  x = gradient.lerp(first, beta)
  tall = x.shape[1] > x.shape[2]
  x = x.mT if tall else x
  x = x / (1.02 * x.norm(dim=(1, 2), keepdim=True) + 1e-6)
  for a, b, c in program.POLAR_EXPRESS:
    square = x @ x.mT
    x = a * x + (b * square + c * square @ square) @ x
  x = x.mT if tall else x
  now = x.square().mean(dim=short_axis(x), keepdim=True)
  squares.lerp_(now, 1 - program.NORMUON_BETA2)
  scale = squares.clamp_min(1e-10).rsqrt()
  before = now.sum(dim=(1, 2), keepdim=True).sqrt()
  after = (now * scale.square()).sum(dim=(1, 2), keepdim=True).sqrt()
  x = x * scale * (before / after.clamp_min(1e-10))
  shrink = torch.where(x * params >= 0, decay * params, 0.0)
  params.sub_(rate * max(1, math.sqrt(x.shape[2] / x.shape[1])) * (x + shrink))


if __name__ == '__main__':
  app.run(main)
