"""Our train step against torch.compile's, on this CPU: same model, shapes, weights and batches.

    pip install -e '.[bench]' && python scripts/studies/step/train_step_vs_torch.py

Prints, for two sizes, the median, fastest and slowest time of a step on both sides, and the ratio
of the medians; the two take turns in one process, so that a busy machine is busy for both. Ours
is what a trial runs: exported, compiled ahead of time, several steps a call with donated state.
Theirs is the same formulas with torch.compile over the loss (forward and backward) and over each
optimizer rule. Before the clock runs, both train a few steps from the same weights, and their
losses must agree to 1e-3; else the script ends with an AssertionError.
"""

import functools
import math
import os
import statistics
import time
from typing import cast

import gpt_step
import jax.numpy as jnp
import numpy as np
import torch  # pyright: ignore[reportMissingImports] - the extra `bench`, which CI does not install
import torch.nn.functional as F  # pyright: ignore[reportMissingImports]
from absl import app, flags

from autoresearch_jax.programs.gpt import model as program

ROUNDS = flags.DEFINE_integer('rounds', 12, 'Calls that are timed, on each side.')
STEPS = flags.DEFINE_integer('steps', 4, 'Training steps in one call.')


def main(_) -> None:
  gpt_step.start_again_with(gpt_step.ENVIRONMENT)  # huge pages are for both sides
  torch.set_num_threads(os.cpu_count() or 1)
  for size in gpt_step.SIZES:
    compare(size)


def compare(name: str) -> None:
  gpt_step.resize(name)
  inputs, targets = gpt_step.random_batches(STEPS.value)
  steps = gpt_step.train_steps(inputs, targets)
  ours, theirs = steps.run, TorchProgram(steps.weights, inputs, targets)
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


def check_agreement(ours: np.ndarray, theirs: np.ndarray) -> None:
  difference = np.abs(ours - theirs).max()
  print(f'losses of the first {len(ours)} steps differ by at most {difference:.1e}')
  assert difference < 1e-3, f'The two sides train differently: {ours} against {theirs}.'


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
    progress = jnp.float32(gpt_step.PROGRESS)
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
  cos, sin = program.rotary_angles(gpt_step.TIME)
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
    y = torch_attention(q, k, v, program.window_of(i, gpt_step.TIME))
    x = x + y.reshape(x.shape) @ params['out'][i]
    x = x + F.relu(torch_norm(x) @ params['up'][i]).square() @ params['down'][i]
  cap = program.LOGIT_CAP
  logits = cap * torch.tanh(torch_norm(x) @ params['head'] / cap)
  return F.cross_entropy(logits.reshape(-1, gpt_step.VOCAB), targets.reshape(-1))


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
  if window >= gpt_step.TIME - 1:
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
  else:
    back = torch.arange(gpt_step.TIME)[:, None] - torch.arange(gpt_step.TIME)
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
