"""Checks programs by tracing them, without data, device or training. No jax here."""

import contextlib
import dataclasses
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
from typing import Any, Self

import msgspec

from autoresearch_jax.config import Limits
from autoresearch_jax.ledger.history import BASELINE, History
from autoresearch_jax.programs.check_task import CheckTask
from autoresearch_jax.tracer.client import TracerClient
from autoresearch_jax.types import Program, Spec, Status, to_json

READ_SECONDS = 120.0  # to read an artifact, and to start the process that does
ENDED = 'The check was ended, since its service ends; check again.'
NOT_TRACED = 'A strategy is not traced, but played; use `autoresearch trial` to check it.'


@dataclasses.dataclass(frozen=True)
class CheckReport:
  """What a trace tells about a program.

  Attributes:
    status: `ok`, or the status that its trial would have; `duplicate` if an earlier trial of the
      run computes the same.
    reason: Why the status is not `ok`, a sentence.
    seconds: Wall-clock duration of the trace.
    fingerprint: The artifact's; equal for programs that compute the same.
    duplicate_of: The earlier trial with that fingerprint.
    parameters: Number of parameters that `predict` reads.
    batch_size: Rows (examples) of a training batch, in the first phase.
    flops_per_step: FLOPs of the matrix products of a train step, in the first phase.
    state_bytes: Memory of the state: parameters, optimizer and whatever else `init` returns.
      Training needs more, which is only known once the program is compiled.
    device_bytes: Memory of the run's device; 0 if it is not known.
  """

  status: Status
  reason: str = ''
  seconds: float = 0.0
  fingerprint: str = ''
  duplicate_of: int | None = None
  parameters: int = 0
  batch_size: int = 0
  flops_per_step: float = 0.0
  state_bytes: int = 0
  device_bytes: int = 0


class Checker:
  """A warm tracer, and a process that reads what it writes. One check at a time.

  Use it as a context manager; it ends its processes at the end.

  Args:
    spec: The problem as programs see it.
    evaluation_batch: Rows (examples) of the batch that `predict` is traced for.
    limits: Limits of a trace and of an artifact.
    scratch: Folder for temporary files.
    hidden: Paths that programs must never read.
  """

  def __init__(
    self,
    spec: Spec,
    evaluation_batch: int,
    limits: Limits,
    scratch: pathlib.Path,
    hidden: tuple[pathlib.Path, ...] = (),
  ):
    self.spec = spec
    self._evaluation_batch, self._limits, self._scratch = evaluation_batch, limits, scratch
    self._tracer = TracerClient(limits, hidden, scratch)
    self._reader: subprocess.Popen[bytes] | None = None
    self._lock = threading.Lock()  # held by a check
    self._closed = False
    self._reader_lock = threading.Lock()  # held while the reader is started or given up

  def __enter__(self) -> Self:
    self.start()
    return self

  def __exit__(self, *_: object) -> None:
    self.close()

  def start(self) -> None:
    """Starts both processes without waiting for them."""
    self._scratch.mkdir(parents=True, exist_ok=True)
    self._tracer.start()
    self._running_reader()

  def close(self) -> None:
    """Ends both processes. A check in progress ends as cancelled."""
    with self._reader_lock:
      self._closed = True
      reader, self._reader = self._reader, None
    self._tracer.close()
    if reader is not None:
      _end(reader)

  def check(self, program: Program) -> CheckReport:
    """Traces a program and describes it.

    Raises:
      SandboxError: This machine offers too little isolation.
      OSError: The scratch folder cannot be written.
    """
    if self.spec.kind == 'strategy':
      return CheckReport(Status.CANCELLED, NOT_TRACED)
    with self._lock:
      if self._closed:
        return CheckReport(Status.CANCELLED, ENDED)
      out = self._scratch / 'checked'
      traced = self._tracer.trace(program, self.spec, self._evaluation_batch, out)
      if traced.status is not Status.OK:
        return CheckReport(traced.status, traced.reason, traced.seconds)
      found = self._described(out)
      out.unlink(missing_ok=True)
    if self._closed:
      return CheckReport(Status.CANCELLED, ENDED, traced.seconds)
    if error := found.get('error'):
      return CheckReport(Status.INVALID, error, traced.seconds)
    facts = found['facts']
    return CheckReport(
      Status.OK,
      seconds=traced.seconds,
      fingerprint=found['fingerprint'],
      parameters=facts['parameters'],
      batch_size=facts['batch_size'],
      flops_per_step=facts['matmul_flops_per_step'][0],
      state_bytes=facts['state_bytes'],
    )

  def _running_reader(self) -> subprocess.Popen[bytes] | None:
    """Returns the reader, started again if it has ended; None once this is closed."""
    with self._reader_lock:
      if self._closed or (self._reader is not None and self._reader.poll() is None):
        return self._reader
      if self._reader is not None:
        _end(self._reader)
      self._reader = subprocess.Popen(
        [sys.executable, '-m', 'autoresearch_jax.artifact.describe'],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, 'JAX_PLATFORMS': 'cpu'},
        start_new_session=True,  # the controller handles Ctrl-C
      )
      return self._reader

  def _described(self, artifact: pathlib.Path) -> dict[str, Any]:
    """Describes an artifact. One that ends the reader, or keeps it busy, is rejected."""
    error = {'error': 'The artifact is rejected: reading it ended the process that did.'}
    if (reader := self._running_reader()) is None:
      return error
    assert reader.stdin is not None and reader.stdout is not None
    late = threading.Timer(READ_SECONDS, reader.kill)
    late.start()
    try:
      reader.stdin.write(to_json({'path': str(artifact), 'limits': self._limits}) + b'\n')
      reader.stdin.flush()
      line = reader.stdout.readline()
      return msgspec.json.decode(line) if line.endswith(b'\n') else error
    except (OSError, ValueError):  # ended, perhaps by `close`
      return error
    finally:
      late.cancel()


def _end(reader: subprocess.Popen[bytes]) -> None:
  """Ends a reader and closes its pipes."""
  reader.kill()
  reader.wait()
  for pipe in (reader.stdin, reader.stdout):
    if pipe is not None:
      with contextlib.suppress(OSError):  # what was not written
        pipe.close()


def traced(task: CheckTask, limits: Limits, program: Program) -> CheckReport:
  """Checks one program, in processes that are started for it.

  Args:
    task: The problem.
    limits: Limits of a trace and of an artifact.
    program: The program.

  Raises:
    As `Checker.check`.
  """
  with (
    tempfile.TemporaryDirectory(prefix='autoresearch_jax_') as scratch,
    Checker(task.spec, task.evaluation_batch, limits, pathlib.Path(scratch)) as checker,
  ):
    return checker.check(program)


def in_run(report: CheckReport, history: History) -> CheckReport:
  """Adds what the run so far tells about a checked program."""
  baseline = history.results.get(BASELINE)
  device_bytes = baseline.facts.get('memory_bytes', 0) if baseline is not None else 0
  report = dataclasses.replace(report, device_bytes=device_bytes or 0)
  if report.status is not Status.OK:
    return report
  first = history.fingerprints(1.0).get(report.fingerprint)
  if first is not None:
    name = 'the baseline' if first == BASELINE else f'trial {first}'
    return dataclasses.replace(
      report,
      status=Status.DUPLICATE,
      reason=f'It computes the same as {name}.',
      duplicate_of=first,
    )
  if 0 < report.device_bytes < report.state_bytes:
    return dataclasses.replace(
      report,
      status=Status.OOM,
      reason=(
        f'Its state needs {report.state_bytes / 2**20:.0f} MiB, and the device has '
        f'{report.device_bytes / 2**20:.0f} MiB; make the model or its batches smaller.'
      ),
    )
  return report
