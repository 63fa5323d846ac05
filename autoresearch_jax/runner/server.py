"""The runner process: serves requests with a runner, which owns the accelerator.

Started by `client` as `python -m autoresearch_jax.runner.server`, it stays warm across trials. No
candidate Python ever runs here: it loads artifacts, compiles them, trains and evaluates. It exits
when its stdin closes, so it never outlives the controller, and on SIGTERM.

Protocol, JSON lines. Requests and their results:

    {"method": "start", "setup": RunnerSetup}    devices, peak FLOP/s, memory
    {"method": "load", "artifact": path, "any_devices": false}
                                                 fingerprint and facts of the artifact
    {"method": "compile"}                        seconds, FLOPs, bytes
    {"method": "calibrate", "artifact": path, "step_seconds": 0.1}
                                                 seconds of a step of the reference
    {"method": "run", "seed": 0, "budget": Budget, "on_test": false, "rungs": [PruningRung],
     "checkpoint": CheckpointPlan or null, "save": SavePlan or null, "state": path, "rows": path}
                                                 progress messages, then a measurement
    {"method": "score", "state": path, "on_test": false}
                                                 metrics of saved parameters
    {"method": "reference", "artifact": path}    whether it has float64; kernels only
    {"method": "try_metrics"}                    values of the user's metrics for constant outputs
    {"method": "prefetch", "number": 1, "artifact": path, "compile": true}
                                                 no result

Each reply is a line {"progress": ...}, {"result": ...} or {"error": status, "reason": ...}. A
prefetch (see `program_cache`) runs in a background thread. When it is over, a line
{"prefetched": number} is written between the others; its outcome is not reported.
"""

import functools
import gc
import os
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any, TextIO

import msgspec

from autoresearch_jax.runner.base import Runner
from autoresearch_jax.runner.client import RunnerError, RunnerSetup
from autoresearch_jax.runner.kernels.runner import KernelRunner
from autoresearch_jax.runner.own_metrics import OwnMetricError
from autoresearch_jax.runner.process import RequestReader, end_on_sigterm
from autoresearch_jax.runner.training_runner import TrainingRunner
from autoresearch_jax.types import Budget, CheckpointPlan, PruningRung, SavePlan, Status


def handle(runner: Runner, request: dict[str, Any], write: Callable[..., None]) -> dict[str, Any]:
  """Handles one request and returns the reply; failures become {"error": ...}."""

  def on_progress(fraction: float, step: int, loss: float | None, phase: str = 'train') -> None:
    write({'progress': {'phase': phase, 'fraction': fraction, 'step': step, 'loss': loss}})

  try:
    match request['method']:
      case 'load':
        result = runner.load(request['artifact'], request.get('any_devices', False))
      case 'compile':
        result = runner.compile()
      case 'calibrate':
        result = runner.calibrate(request['artifact'], request['step_seconds'])
      case 'run':
        budget = msgspec.convert(request['budget'], Budget)
        rungs = msgspec.convert(request.get('rungs', ()), tuple[PruningRung, ...])
        on_test = request.get('on_test', False)
        checkpoint = msgspec.convert(request.get('checkpoint'), CheckpointPlan | None)
        plan, folder = msgspec.convert(request.get('save'), SavePlan | None), request.get('state')
        result = runner.run(
          request['seed'], budget, on_progress, on_test, rungs, checkpoint, plan, folder or '',
          request.get('rows', ''),
        )  # fmt: skip
      case 'score':
        result = runner.score(request['state'], request['on_test'], on_progress)
      case 'reference':
        result = runner.reference(request['artifact'])
      case 'try_metrics':
        result = runner.try_metrics()
      case other:
        raise ValueError(f'The runner has no method {other!r}.')
    return {'result': result}
  except RunnerError as error:
    return {
      'error': error.status,
      'reason': str(error),
      'facts': error.facts,
      'retryable': error.retryable,
    }
  except OwnMetricError as error:  # no program is the cause
    return {'error': Status.CRASH, 'reason': str(error), 'ends_run': True}
  except Exception as error:
    traceback.print_exc()
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if 'RESOURCE_EXHAUSTED' in str(error):
      return {'error': Status.OOM, 'reason': f'The device ran out of memory: {first}'}
    reason = f'The runner failed during {request["method"]}: {type(error).__name__}: {first}'
    return {'error': Status.CRASH, 'reason': reason}


def serve(reader: RequestReader, replies: TextIO) -> None:
  """Serves requests for ever; returns only if the runner cannot be set up."""
  write_lock = threading.Lock()

  def write(message: dict[str, Any]) -> None:
    with write_lock:
      replies.write(msgspec.json.encode(message).decode() + '\n')
      replies.flush()

  def serve_prefetches(runner: Runner) -> None:
    while message := reader.prefetches.get():
      on_done = functools.partial(write, {'prefetched': message['number']})
      runner.prefetch(message['artifact'], message['compile'], on_done)

  try:
    setup = msgspec.convert(reader.requests.get()['setup'], RunnerSetup)
    runner = (KernelRunner if setup.dataset.kind == 'kernel' else TrainingRunner)(setup)
  except Exception as error:
    write({'error': Status.CRASH, 'reason': str(error)})
    return
  # Imported modules live for ever; excluding them from collection makes loading a third faster.
  gc.collect()
  gc.freeze()
  write({'result': runner.describe()})
  threading.Thread(target=serve_prefetches, args=(runner,), name='prefetches', daemon=True).start()
  while True:
    write(handle(runner, reader.requests.get(), write))


def main() -> None:
  """Serves requests on stdin with replies on stdout."""
  # Libraries print to stdout, so that goes to stderr; replies use a copy of the descriptor.
  replies = os.fdopen(os.dup(1), 'w')
  os.dup2(2, 1)
  end_on_sigterm()
  serve(RequestReader(sys.stdin), replies)


if __name__ == '__main__':
  main()
