"""The process of an agent: started, ended from another thread, and why it failed."""

import threading

from autoresearch_jax.messages import one_line
from autoresearch_jax.sandbox.command import SandboxedCommand
from autoresearch_jax.sandbox.command_spec import CommandResult, CommandSpec

MAX_OUTPUT_SHOWN = 300  # characters of the transcript in a message


class RunningAgent:
  """The agent process in progress, so that another thread can end it."""

  def __init__(self) -> None:
    self.closed = False
    self._lock = threading.Lock()
    self._running: set[SandboxedCommand] = set()

  def run(self, spec: CommandSpec) -> CommandResult:
    """Runs the agent and waits for it."""
    with self._lock:
      if self.closed:
        return CommandResult('stopped')
      try:
        running = SandboxedCommand(spec)
      except OSError as error:
        return CommandResult('not_started', reason=f'{error}.')
      self._running.add(running)
    try:
      return running.wait()
    finally:
      with self._lock:
        self._running.discard(running)

  def close(self) -> None:
    """Ends the agent and prevents new ones. Safe from any thread."""
    with self._lock:
      self.closed = True
      for running in self._running:
        running.stop()


def failure(name: str, spec: CommandSpec, result: CommandResult, transcript: str) -> str:
  """Returns why an agent failed, or ''.

  Args:
    name: Name of the agent.
    spec: What was run.
    result: How it ended.
    transcript: Its output.
  """
  gib = 2**30
  reasons = {
    'not_started': f'could not be started: {one_line(result.reason, MAX_OUTPUT_SHOWN)}',
    'lost': f'was lost: {result.reason}',
    'stopped': 'was ended because the run is stopping.',
    'timeout': f'exceeded timeout_seconds ({spec.timeout_seconds:g} s) and was ended.',
    'memory': f'exceeded max_memory_bytes ({spec.memory_bytes / gib:g} GiB) and was ended.',
    'processes': f'exceeded max_processes ({spec.processes}) and was ended.',
    'folder': (
      f'exceeded max_folder_bytes ({spec.folder_bytes / gib:g} GiB), or made more files than '
      'can be counted, and was ended.'
    ),
  }
  if result.ended_by in reasons:
    return f'The agent {name} {reasons[result.ended_by]}'
  if result.exit_code == 0:
    return ''
  code = result.exit_code or 0
  how = f'with exit code {code}' if code > 0 else f'by signal {-code}'
  last = one_line(transcript[-MAX_OUTPUT_SHOWN:]) or 'nothing'
  return f'The agent {name} ended {how}; its output ends with {last!r}.'
