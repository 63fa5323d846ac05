"""Runs a session: one process's part of a run, from where the ledger ends until it stops.

`run_session` is what the run command and `autoresearch_jax.run` call. `begin` starts a run in an
empty ledger, or resumes the one that the ledger holds.
"""

import dataclasses
import importlib.metadata
import pathlib
import platform
from collections.abc import Callable
from typing import Any, Protocol, Self

import msgspec

from autoresearch_jax import messages
from autoresearch_jax.config import Config, ConfigError
from autoresearch_jax.ledger.events import LedgerError, Resumed, Started
from autoresearch_jax.ledger.git_repo import Workspace, branch_name, tag_of
from autoresearch_jax.ledger.history import History
from autoresearch_jax.ledger.store import Ledger
from autoresearch_jax.report import View
from autoresearch_jax.research.build import Run, build
from autoresearch_jax.research.controller import Controller, replay
from autoresearch_jax.research.final_evaluation import FinalEvaluation, announcement
from autoresearch_jax.research.loop import ResearchLoop
from autoresearch_jax.types import from_builtins, to_builtins

PACKAGES = ('autoresearch_jax', 'jax', 'jaxlib', 'flax', 'optax', 'numpy')  # can change a result


class StopRequest(Protocol):
  """A context in which somebody may ask the session to stop, e.g. by Ctrl-C.

  It is entered when trials begin. A Ctrl-C before that raises KeyboardInterrupt as usual.
  """

  def __enter__(self) -> Self: ...

  def __exit__(self, *_: object) -> None: ...

  def __call__(self) -> str:
    """Returns why the session should stop, a sentence; '' to go on."""
    ...

  def rearm(self) -> bool:
    """Withdraws the request, so that the final evaluation runs until the next one.

    Returns False when there is no time for that.
    """
    ...


@dataclasses.dataclass(frozen=True)
class SessionOutcome:
  """How a session ended.

  Attributes:
    reason: Why the search stopped, a sentence.
    failed: Whether the baseline, the machine, the strategy or the acceptance rule failed.
    history: The run as it stands.
  """

  reason: str
  failed: bool
  history: History


def run_session(
  config: Config,
  directory: pathlib.Path,
  *,
  say: Callable[[str], None],
  make_view: Callable[[History], View],
  stop: StopRequest,
) -> SessionOutcome:
  """Begins or resumes the run in a folder, and researches until there is a reason to stop.

  When the search has stopped, the best program is compared with the baseline on the test split
  (`final_evaluation.py`). However the session ends, the same call goes on from there.

  Args:
    config: The run. It must be the one that the folder holds, but for the fields that end a run.
    directory: The run's folder; it is made if need be, and locked meanwhile.
    say: Receives lines of text: the run's parts, news of the data, why it stopped.
    make_view: Makes the view that shows the search as it happens.
    stop: Asked several times a second whether to stop.

  Raises:
    ConfigError: The config names what does not exist, or differs from the run's.
    WorkspaceError: The folder cannot be used, for instance since another process uses it.
    LedgerError: The ledger cannot be read or replayed.
    ComponentError: The strategy or acceptance rule raised while the ledger was replayed.
    SandboxError: The machine cannot give the isolation that the config asks for.
    OSError: The disk is full, or the data cannot be downloaded, read or written.
  """
  with Workspace.open(directory) as workspace, Ledger.open(workspace.ledger_path) as ledger:
    run = build(config)
    for word, value in _opening(run, directory):
      say(f'{word:<11}{messages.one_line(value)}')
    for line in run.search_space().splitlines():
      say(f'{"samples":<11}{line}')
    dataset = run.prepare_data(say)
    say(f'{"test split":<11}{announcement(config, dataset)}')
    controller = begin(ledger, run, dataset.fingerprint)
    history = controller.history
    if history.trials:
      say(f'resuming after {len(history.trials)} trials')
    executor = run.start_executor(dataset, workspace.scratch)
    if executor.slots > 1:
      say(f'{"slots":<11}{executor.slots} trials at once')
    try:
      with stop:
        with make_view(history) as view:
          loop = ResearchLoop(
            controller=controller,
            ledger=ledger,
            workspace=workspace,
            proposer=run.proposer,
            executor=executor,
            view=view,
            stop=stop,
            hidden=run.hidden_paths(dataset),
          )
          reason = loop.run()
        say(reason)
        failed = loop.failed or loop.unavailable or loop.broken
        if not failed and stop.rearm():
          evaluation = FinalEvaluation(
            ledger, history, executor, config.budget, config.final_seeds, stop, say
          )
          failed = not evaluation.run()
    finally:
      executor.close()
  return SessionOutcome(reason, failed, history)


def _opening(run: Run, directory: pathlib.Path) -> list[tuple[str, str]]:
  """What the session is about, as (word, value) lines."""
  config = run.config
  budget = f'{config.budget.amount:g} {config.budget.unit} a trial'
  return [
    ('proposer', run.proposer.title or config.proposer),
    ('config', config.name),
    ('platform', config.platform),
    ('problem', f'{config.problem}, {config.direction} {config.metric}, {budget}'),
    ('strategy', config.search.strategy),
    ('acceptance', config.acceptance),
    ('isolation', config.limits.isolation),
    ('workdir', str(directory)),
    ('branch', f'{branch_name(tag_of(config.name))} in {directory / "repo"}'),
  ]


def begin(ledger: Ledger, run: Run, dataset: str = '') -> Controller:
  """Opens a session in the ledger: starts the run, or resumes it.

  Args:
    ledger: The run's ledger, open for writing.
    run: The run's parts.
    dataset: Fingerprint of the data.

  Returns:
    The controller, as it stands after all events of the ledger.

  Raises:
    ConfigError: The ledger belongs to another config or to other data.
    LedgerError: The ledger cannot be replayed.
    ComponentError: The strategy or acceptance rule raised.
  """
  settings = run.settings()
  history = History.of(ledger.records())
  if history.started is None or not history.turn:  # nothing was tried yet
    started = Started(_plain(run.config), tag_of(run.config.name), dataset, versions())
    ledger.append(started)
    return replay(ledger.records(), run.strategy, run.acceptance, settings)
  _require_same_run(ledger, history.started, run.config, dataset)
  controller = replay(ledger.records(), run.strategy, run.acceptance, settings)
  controller.apply(ledger.append(Resumed(versions())))
  return controller


def versions() -> dict[str, str]:
  """Versions of Python and of the packages that can change a result, without importing them."""
  found = {'python': platform.python_version()}
  for package in PACKAGES:
    try:
      found[package] = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
      continue
  return found


def _require_same_run(ledger: Ledger, started: Started, config: Config, dataset: str) -> None:
  changed = differences(_recorded(ledger, started), config)
  advice = (
    'Only config.search.max_trials and config.final_seeds may change within a run: put the old '
    'value back, or name another --workdir.'
  )
  if changed:
    raise ConfigError(f'{ledger.path.parent} holds a run with another config. {changed}. {advice}')
  if started.dataset != dataset:
    raise ConfigError(
      f'{ledger.path.parent} holds a run on other data (fingerprint {started.dataset[:12]}, now '
      f'{dataset[:12]}), so its scores do not compare with new ones. Name another --workdir.'
    )


def _recorded(ledger: Ledger, started: Started) -> Config:
  try:
    return from_builtins(started.config, Config)
  except msgspec.ValidationError as error:
    raise LedgerError(
      f'{ledger.path} was begun with a config that this version cannot read: {error}. Use the '
      f'version that wrote it, or name another --workdir.'
    ) from None


def differences(recorded: Config, now: Config) -> str:
  """Lists the fields that differ: `config.seed is 1 here and was 0; ...`.

  Fields that only decide when a run ends are left out.
  """
  before, after = (_flat('config', _plain(_without_end(c))) for c in (recorded, now))
  return '; '.join(
    f'{path} is {after.get(path, "absent")!r} here and was {before.get(path, "absent")!r}'
    for path in sorted({*before, *after})
    if before.get(path) != after.get(path)
  )


def _without_end(config: Config) -> Config:
  search = dataclasses.replace(config.search, max_trials=0)
  return dataclasses.replace(config, search=search, final_seeds=0)


def _plain(config: Config) -> dict[str, Any]:
  """All fields as plain data; msgspec alone would leave out defaults of what it decoded."""
  return to_builtins(dataclasses.asdict(config))


def _flat(path: str, value: Any) -> dict[str, Any]:
  if isinstance(value, dict):
    return {p: v for key in value for p, v in _flat(f'{path}.{key}', value[key]).items()}
  return {path: value}
