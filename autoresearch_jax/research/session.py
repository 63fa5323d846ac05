"""Sessions: a session is the part of a run that one process carries out.

The run command and `autoresearch_jax.run` call `run_session`. `begin` starts a run in an empty
ledger, or resumes the run in the ledger.
"""

import contextlib
import dataclasses
import pathlib
import platform
from collections.abc import Callable
from typing import Protocol, Self

import msgspec

from autoresearch_jax import messages
from autoresearch_jax.config import Config, ConfigError, checked
from autoresearch_jax.executors import Executor
from autoresearch_jax.executors.own_metrics import doubts_about_metric
from autoresearch_jax.ledger.events import LedgerError, Resumed, Started
from autoresearch_jax.ledger.git_repo import Workspace, branch_name, tag_of
from autoresearch_jax.ledger.history import BASELINE, History
from autoresearch_jax.ledger.ownership import require_usable
from autoresearch_jax.ledger.store import Ledger
from autoresearch_jax.mirror import NoMirror, open_mirror
from autoresearch_jax.models.exported import export_saved
from autoresearch_jax.proposers import Proposer
from autoresearch_jax.registry import installed_versions
from autoresearch_jax.report import View
from autoresearch_jax.report.sinks import SinkView, opened, sinks_of
from autoresearch_jax.research import hardware, resumable
from autoresearch_jax.research.build import Run, build
from autoresearch_jax.research.code_digests import code_digests
from autoresearch_jax.research.controller import Controller
from autoresearch_jax.research.final_evaluation import FinalEvaluation, announcement
from autoresearch_jax.research.loop import PROMPT_SECONDS, WAIT_SECONDS, ResearchLoop
from autoresearch_jax.research.replay import replay
from autoresearch_jax.types import Dataset, Hardware, from_builtins

# Options of acceptance rules in shipped configs that runs of earlier versions do not have.
LATER_OPTIONS = {'min_gain': 1.0}
FORMER_ACCEPTANCE = ('noise', 'sequential')  # in shipped configs that now have 'paired'
PACKAGES = ('autoresearch_jax', 'jax', 'jaxlib', 'flax', 'optax', 'numpy')  # can change a result


class StopRequest(Protocol):
  """A context manager in which the user may request a stop, for instance by Ctrl-C.

  It is entered when trials begin. Before that, Ctrl-C raises KeyboardInterrupt as usual.
  """

  def __enter__(self) -> Self: ...

  def __exit__(self, *_: object) -> None: ...

  def __call__(self) -> str:
    """Returns why the session should stop, a sentence; '' to continue."""
    ...

  def rearm(self) -> bool:
    """Clears the request, so that the final evaluation runs until the next one.

    Returns False if there is no time for a final evaluation.
    """
    ...


@dataclasses.dataclass(frozen=True)
class SessionOutcome:
  """How a session ended.

  Attributes:
    reason: Why the search stopped, a sentence.
    failed: Whether the baseline, the machine, the strategy or the acceptance rule failed.
    history: The run so far.
  """

  reason: str
  failed: bool
  history: History


@dataclasses.dataclass(frozen=True)
class SessionParts:
  """What a session makes that services beside it may use.

  Attributes:
    run: The run's components.
    directory: The run's folder.
    dataset: The prepared data.
    history: The run so far, which another thread changes.
    executor: Runs the trials.
  """

  run: Run
  directory: pathlib.Path
  dataset: Dataset
  history: History
  executor: Executor


Beside = Callable[[SessionParts], contextlib.AbstractContextManager[object]]


def run_session(
  config: Config,
  directory: pathlib.Path,
  *,
  say: Callable[[str], None],
  make_view: Callable[[History], View],
  stop: StopRequest,
  take_over: bool = False,
  requested_only: bool = False,
  beside: Beside | None = None,
) -> SessionOutcome:
  """Starts or resumes the run in a folder, and runs trials until there is a reason to stop.

  Afterwards the best program is compared with the baseline on the test split
  (`final_evaluation.py`). However the session ends, the same call resumes the run.

  Args:
    config: The run's config. Within a run, only the fields in `resumable.py` may change.
    directory: The run's folder; created if missing, and locked during the session.
    say: Receives lines of text: the run's components, progress of the data, why it stopped.
    make_view: Makes the live view.
    stop: Called several times a second.
    take_over: Whether to take the mirror from another controller.
    requested_only: Whether to run only trials that users request, and to wait for more of them.
    beside: Makes a context manager that is active while the session's executor is.

  Raises:
    ConfigError: The config has an unknown name or option, or differs from the run's.
    WorkspaceError: The folder cannot be used, for instance since another process uses it.
    LedgerError: The ledger cannot be read or replayed.
    ComponentError: The strategy or acceptance rule raised while the ledger was replayed.
    SandboxError: The machine does not support the isolation that the config requires.
    MirrorError: The mirror cannot be used, or another controller goes on with its run.
    OSError: The disk is full, or the data cannot be downloaded, read or written.
  """
  require_usable(directory)
  with open_mirror(checked(config).mirror, directory, say, take_over) as mirror:
    run = build(with_former_defaults(directory / 'ledger.db', config))
    run = dataclasses.replace(run, requested_only=requested_only)
    return _run_session(
      run, directory, mirror, say=say, make_view=make_view, stop=stop, beside=beside
    )


def _run_session(
  run: Run,
  directory: pathlib.Path,
  mirror: NoMirror,
  *,
  say: Callable[[str], None],
  make_view: Callable[[History], View],
  stop: StopRequest,
  beside: Beside | None,
) -> SessionOutcome:
  """Runs a session in a folder that is up to date with its mirror. See `run_session`."""

  def stopped() -> str:
    return stop() or mirror.lost()

  run.require_executor()
  sinks = sinks_of(run.config)
  config, space = run.config, run.search_space()
  for word, value in _opening(run, directory):
    say(f'{word:<11}{messages.one_line(value)}')
  for line in space.splitlines():
    say(f'{"samples":<11}{line}')
  dataset = run.prepare_data(say)
  say(f'{"test split":<11}{announcement(config, dataset)}')
  # Nothing is written to the folder before this line, so that a config that is refused leaves none.
  with Workspace.open(directory) as workspace, contextlib.ExitStack() as stack:
    recorded, changes = _recorded_run(workspace.ledger_path, run, dataset.fingerprint)
    executor = run.start_executor(dataset, workspace.scratch)
    try:
      found = executor.hardware()
      for change in hardware.changed_versions(recorded, found):
        say(f'{"changed":<11}{messages.one_line(change)}')
      if unlike := hardware.difference(recorded, found, config):
        hardware.require_comparable(directory, unlike, config)
        aside = hardware.rebase(workspace, _started(run, dataset.fingerprint, found))
        changes = ()  # the new ledger begins with this config
        say(f'{"rebased":<11}{unlike}. Its ledger so far is in {aside}')
      with stop:
        ledger = stack.enter_context(Ledger.open(workspace.ledger_path))
        controller = begin(ledger, run, dataset.fingerprint, found)
        history = controller.history
        if history.trials:
          say(f'resuming after {len(history.trials)} trials')
        if history.steering.paused is not None:
          author = history.steering.paused.request.author
          say(f'{"paused":<11}by {author}; `autoresearch steer {directory} resume` goes on')
        for change in changes:
          say(f'{"changed":<11}{messages.one_line(str(change))}')
        if executor.slots > 1:
          say(f'{"slots":<11}{executor.slots} trials at once')
        if beside is not None:
          stack.enter_context(beside(SessionParts(run, directory, dataset, history, executor)))
        with (
          opened(sinks, directory, history, say) as threads,
          SinkView(make_view(history), threads, history) as view,
          _with_imports(run, history) as proposer,
        ):
          loop = ResearchLoop(
            controller=controller,
            ledger=ledger,
            workspace=workspace,
            proposer=proposer,
            executor=executor,
            view=view,
            stop=stopped,
            hidden=run.hidden_paths(dataset),
            wait_seconds=PROMPT_SECONDS if run.requested_only else WAIT_SECONDS,
            on_baseline=lambda: _say_doubts(say, dataset, history),
          )
          reason = loop.run()
        say(reason)
        failed = loop.failed or loop.unavailable or loop.broken or bool(mirror.lost())
        if not failed and stop.rearm():
          evaluation = FinalEvaluation(
            ledger, history, executor, config.budget, config.final_seeds, stopped, say
          )
          failed = not evaluation.run()
        if config.save_models and not failed:
          export_saved(directory, history, dataset, say)
    finally:
      executor.close()
  return SessionOutcome(reason, failed, history)


def _with_imports(run: Run, history: History) -> contextlib.AbstractContextManager[Proposer]:
  """Returns a context with the run's proposer, which also tries findings if there are stores."""
  findings = run.config.findings
  if not findings.stores:
    return contextlib.nullcontext(run.proposer)
  from autoresearch_jax.proposers.imports import importing  # noqa: PLC0415 - slow to import

  return importing(run.proposer, findings, history)


def _say_doubts(say: Callable[[str], None], dataset: Dataset, history: History) -> None:
  """Says whether a metric of the user's own may say nothing about learning."""
  runs = history.results[BASELINE].measurements
  for doubt in doubts_about_metric(dataset, history.objective, runs):
    say(f'{"metric":<11}{doubt}')


def _opening(run: Run, directory: pathlib.Path) -> list[tuple[str, str]]:
  """Returns (label, value) lines that summarise the config."""
  config = run.config
  budget = f'{config.budget.describe()} a trial'
  stores = ', '.join(config.findings.stores)
  imports = f'of {stores}, in at most {config.findings.share:.0%} of the new programs'
  return [
    ('proposer', run.proposer.title or config.proposer),
    ('config', config.name),
    ('platform', config.platform),
    ('problem', f'{config.problem}, {config.direction} {config.metric}, {budget}'),
    ('strategy', config.search.strategy),
    ('acceptance', config.acceptance),
    ('isolation', config.limits.isolation),
    ('workdir', str(directory)),
    *([('findings', imports)] if stores else []),
    ('branch', f'{branch_name(tag_of(config.name))} in {directory / "repo"}'),
  ]


def with_former_defaults(path: pathlib.Path, config: Config) -> Config:
  """Returns the config with the defaults that applied when the run in a ledger began, if any did.

  The same command thus resumes a run of an earlier version, whose trials only compare with others
  of the same clock and the same acceptance rule.
  """
  try:
    with Ledger.read(path) as ledger:
      history = History.of(ledger.records())
      if history.started is None or not history.turn:
        return config
      recorded = _recorded(ledger, history)
  except LedgerError:  # there is none, or `Ledger.open` will say what is wrong
    return config
  if (config.budget.clock, recorded.budget.clock) == ('auto', 'wall'):
    budget = dataclasses.replace(config.budget, clock='wall')
    config = dataclasses.replace(config, budget=budget)
  if config.acceptance == 'paired' and recorded.acceptance in FORMER_ACCEPTANCE:
    config = dataclasses.replace(config, acceptance=recorded.acceptance)
  options = {
    name: value
    for name, value in config.acceptance_options.items()
    if name in recorded.acceptance_options or LATER_OPTIONS.get(name) != value
  }
  return dataclasses.replace(config, acceptance_options=options)


def begin(ledger: Ledger, run: Run, dataset: str = '', found: Hardware | None = None) -> Controller:
  """Starts or resumes a run in its ledger.

  Args:
    ledger: The run's ledger, open for appending.
    run: The run's components.
    dataset: Fingerprint of the data.
    found: What the trials run on, if known.

  Returns:
    The controller after all events of the ledger.

  Raises:
    ConfigError: The ledger belongs to another config or to other data.
    LedgerError: The ledger cannot be replayed.
    ComponentError: The strategy or acceptance rule raised.
  """
  settings = run.settings()
  history = History.of(ledger.records())
  if history.started is None or not history.turn:  # no trial yet
    started = _started(run, dataset, found)
    if (before := history.started) is not None:
      started = dataclasses.replace(
        started, lineage=before.lineage, carried=before.carried, spent=before.spent
      )
    ledger.append(started)
    return replay(ledger.records(), run.strategy, run.acceptance, settings)
  changed = _require_same_run(ledger, history, run.config, dataset)
  controller = replay(ledger.records(), run.strategy, run.acceptance, settings)
  config = resumable.plain(run.config) if changed else None
  controller.apply(ledger.append(Resumed(versions(), found, config, run.reads_text)))
  return controller


def _started(run: Run, dataset: str, found: Hardware | None) -> Started:
  config = run.config
  return Started(
    resumable.plain(config),
    tag_of(config.name),
    dataset,
    versions(),
    found,
    reads_text=run.reads_text,
    digests=code_digests(),
  )


def _recorded_run(
  path: pathlib.Path, run: Run, dataset: str
) -> tuple[Hardware | None, tuple[resumable.Change, ...]]:
  """Returns what the run in a ledger ran on, if known, and how its config has changed.

  Raises as `begin` does.
  """
  with Ledger.open(path) as ledger:
    history = History.of(ledger.records())
    if history.started is None or not history.turn:
      return None, ()
    return history.hardware, _require_same_run(ledger, history, run.config, dataset)


def versions() -> dict[str, str]:
  """Versions of Python and of the packages that can change a result, without importing them."""
  return {'python': platform.python_version(), **installed_versions(PACKAGES)}


def _require_same_run(
  ledger: Ledger, history: History, config: Config, dataset: str
) -> tuple[resumable.Change, ...]:
  """Returns how a config differs from the one that the run had last. Raises as `begin` does."""
  assert history.started is not None
  started, found = history.started, resumable.changes(_recorded(ledger, history), config)
  if refused := [change for change in found if not change.allowed]:
    raise ConfigError(
      f'{ledger.path.parent} holds a run with another config. '
      f'{"; ".join(map(str, refused))}. {resumable.ADVICE}'
    )
  if started.dataset != dataset:
    raise ConfigError(
      f'{ledger.path.parent} holds a run on other data (fingerprint {started.dataset[:12]}, now '
      f'{dataset[:12]}), so its scores are not comparable with new ones. Use another --workdir.'
    )
  return found


def _recorded(ledger: Ledger, history: History) -> Config:
  assert history.started is not None
  try:
    return from_builtins(history.changed_config or history.started.config, Config)
  except msgspec.ValidationError as error:
    raise LedgerError(
      f'This version cannot read the config in {ledger.path}: {error}. Use the version that wrote '
      f'it, or another --workdir.'
    ) from None
