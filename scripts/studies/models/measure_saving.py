"""Measures what saving the parameters of a training run costs the runner, and the next run.

  python scripts/studies/models/measure_saving.py --width=7000

The program is the MLP on digits with two hidden layers: width 7000 has 49.5 million parameters. A
run is trained and saved, and then another one of the same program, as the next seed of a trial is.
Writes a line per repetition: the time of the request with and without saving, the time until the
files are complete, and the training time of the run after it, with and without.
"""

import contextlib
import pathlib
import tempfile
import time

from absl import app, flags

from autoresearch_jax import config as configs
from autoresearch_jax.config import Limits
from autoresearch_jax.data import cache
from autoresearch_jax.programs.start import starting_program
from autoresearch_jax.research.build import build_task
from autoresearch_jax.runner.client import RunnerClient, RunnerSetup
from autoresearch_jax.tracer.client import TracerClient
from autoresearch_jax.types import Budget, SavePlan

WIDTH = flags.DEFINE_integer('width', 7000, 'Width of both hidden layers.', lower_bound=1)
STEPS = flags.DEFINE_integer('steps', 4, 'Train steps of a run.', lower_bound=1)
REPETITIONS = flags.DEFINE_integer('repetitions', 3, 'Repetitions.', lower_bound=1)


def main(arguments: list[str]) -> None:
  """Prints the measurements."""
  del arguments
  config = configs.from_config_dict(configs.load('digits'), {'constants.WIDTH': WIDTH.value})
  task = build_task(config)
  dataset = task.prepare_data(print)
  limits = Limits(isolation='none', step_seconds=600)
  with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
    scratch = pathlib.Path(folder)
    tracer = TracerClient(limits, (), scratch / 'traces')
    stack.callback(tracer.close)
    traced = tracer.trace(
      starting_program(config), task.spec, dataset.evaluation_batch, scratch / 'a'
    )
    print(traced.status, traced.reason)
    setup = RunnerSetup('cpu', dataset, limits, str(cache.directory()))
    runner = RunnerClient(setup, scratch / 'runner.log')
    stack.callback(runner.close)
    runner.start()
    runner.wait_until_ready()
    facts = runner.request('load', 600, artifact=str(scratch / 'a'))['facts']
    runner.request('compile', 600)
    print(f'{facts["parameters"]:,} parameters, a state of {facts["state_bytes"] / 2**20:.0f} MiB')
    run(runner, 0, None, '')
    for repetition in range(REPETITIONS.value):
      state = scratch / f'state{repetition}'
      plain, _ = run(runner, 1, None, '')
      control, without = run(runner, 3, None, '')
      began = time.time()
      saving, _ = run(runner, 2, SavePlan(task.config.objective), str(state))
      returned = time.time()
      following, after = run(runner, 3, None, '')
      done = (state / 'parameters').stat().st_ctime
      print(
        f'run {plain:.2f} s, with saving {saving:.2f} s, complete {done - returned:.2f} s later '
        f'({done - began:.2f} s after it began); the next run {following:.2f} s (without '
        f'{control:.2f} s), of which it trained {after:.2f} s (without {without:.2f} s)'
      )


def run(runner: RunnerClient, seed: int, save: SavePlan | None, state: str) -> tuple[float, float]:
  """Trains; returns the seconds of the request and those of training."""
  began = time.monotonic()
  got = runner.request(
    'run', 600, seed=seed, budget=Budget(STEPS.value, 'steps'), save=save, state=state
  )
  return time.monotonic() - began, got['measurement']['cost']['training_seconds']


if __name__ == '__main__':
  app.run(main)
