"""What knowing the memory limit is worth to a sampler: trials out of memory, and the best loss.

  python measure_memory_limit.py [--strategies=tpe,cma_es] [--trials=60] [--seeds=10]

Six constants, of which WIDTH, BATCH and DEPTH take memory as those of a transformer do; the loss is
the smaller, the larger they are. "said" is with the bytes that a refused trial needed, "unsaid"
without them, and "off" with max_oom_probability=1.
"""

import math

import numpy as np
from absl import app, flags

from autoresearch_jax import types
from autoresearch_jax.search import STRATEGIES
from autoresearch_jax.search.samplers.study import Drop

START = types.Program(
  (
    (
      'model.py',
      'WIDTH = 256  # in [64, 2048], log\nBATCH = 64  # in [8, 512], log\nDEPTH = 6\n'
      'RATE = 0.01\nDECAY = 0.1\nBETA = 0.9\n',
    ),
  ),
  'model.py',
)
DEVICE = 16 * 2**30
CASES = (('off', {'max_oom_probability': 1.0}, True), ('said', {}, True), ('unsaid', {}, False))

_STRATEGIES = flags.DEFINE_list('strategies', ['tpe', 'cma_es'], 'Registered names.')
_TRIALS = flags.DEFINE_integer('trials', 60, 'Trials of a run.')
_SEEDS = flags.DEFINE_integer('seeds', 10, 'Runs, whose means are printed.')


def result(number: int, program: types.Program, says: bool) -> types.Result:
  lines = (line.split() for line in program.text().splitlines())
  value = {words[0]: float(words[2]) for words in lines}
  width, batch, depth = value['WIDTH'], value['BATCH'], value['DEPTH']
  needed = int(2e8 + 192 * depth * width**2 + 1024 * batch * (34 * width * depth + 20_000))
  if needed > DEVICE:
    facts = {'needed_bytes': needed, 'device_bytes': DEVICE} if says else {}
    return types.Result(number, types.Status.OOM, 'It does not fit.', facts=facts)
  loss = 3 - 0.25 * math.log(width) - 0.1 * math.log(batch) - 0.1 * math.log(depth)
  loss += 0.3 * (math.log10(value['RATE']) + 2.3) ** 2
  loss += 0.1 * (math.log10(value['DECAY']) + 1.5) ** 2
  cost = types.Cost(analysis_bytes=needed, peak_bytes=needed)
  measured = types.Measurement(0, {'loss': loss}, cost)
  return types.Result(number, types.Status.OK, measurements=(measured,))


def played(name: str, options: dict[str, float], says: bool, seed: int) -> tuple[float, ...]:
  """Share of trials out of memory in the run and after a third of it, best loss, points dropped."""
  strategy = STRATEGIES.make(name, options)
  state, refused, best = strategy.init(types.Objective('loss', 'minimize')), [], math.inf
  proposal = types.Proposal(types.Operation.DRAFT)
  edit = types.Edit(START, '', types.Hypothesis(''))
  for number in range(_TRIALS.value):
    if number:
      proposal, state = strategy.ask(state, np.random.default_rng((seed, number)))
      assert proposal.edit is not None
      edit = proposal.edit
    made = result(number, edit.program, says)
    refused.append(made.status is types.Status.OOM)
    best = min([best, *(m.metrics['loss'] for m in made.measurements)])
    state = strategy.tell(state, types.Trial(number, proposal, edit, made))
  dropped = sum(isinstance(entry, Drop) for entry in state.log)
  later = refused[len(refused) // 3 :]
  return float(np.mean(refused)), float(np.mean(later)), best, dropped


def main(_: list[str]) -> None:
  print(f'{"":<16}{"out of memory":>15}{"later":>8}{"best":>9}{"dropped":>9}')
  for name in _STRATEGIES.value:
    for label, options, says in CASES:
      rows = [played(name, options, says, seed) for seed in range(_SEEDS.value)]
      share, later, best, dropped = np.mean(rows, axis=0)
      print(f'{name:<9}{label:<7}{share:15.1%}{later:8.1%}{best:9.3f}{dropped:9.1f}', flush=True)


if __name__ == '__main__':
  app.run(main)
