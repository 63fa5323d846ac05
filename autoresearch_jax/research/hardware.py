"""What happens when a run goes on on other hardware than it began on.

Seconds of different devices do not compare, nor do the scores of programs that trained for so many
seconds. So the run is refused, or *rebased*: its ledger moves to a folder of its own, and a new one
begins in its place, in which the baseline is measured anew, and the best program is the first one
to be tried. Requests of users that still apply are carried over.
"""

import contextlib
import dataclasses
import os
import pathlib

from autoresearch_jax.config import Config, ConfigError
from autoresearch_jax.ledger.events import Started, Steered
from autoresearch_jax.ledger.git_repo import Workspace
from autoresearch_jax.ledger.history import BASELINE, History
from autoresearch_jax.ledger.ownership import numbered_folder
from autoresearch_jax.ledger.requests import reviewed
from autoresearch_jax.ledger.store import Ledger, read_history
from autoresearch_jax.ledger.witness import witness_path
from autoresearch_jax.types import Edit, Hardware


def difference(recorded: Hardware | None, now: Hardware | None, config: Config) -> str:
  """Describes how two machines differ in what decides scores; '' if they do not, or if unknown.

  On a CPU, its model and cores decide only where the budget is in seconds.
  """
  if recorded is None or now is None:
    return ''
  if config.platform == 'cpu' and config.budget.unit != 'seconds':
    return ''
  if (recorded.kind, recorded.devices) == (now.kind, now.devices):
    return ''
  return f'It ran on {recorded}, and this machine has {now}'


def changed_versions(recorded: Hardware | None, now: Hardware | None) -> list[str]:
  """Returns sentences about drivers and compilers that have changed."""
  if recorded is None or now is None:
    return []
  return [
    f'{name} is {version!r} and was {recorded.versions[name]!r}'
    for name, version in now.versions.items()
    if recorded.versions.get(name, version) != version
  ]


def require_comparable(directory: pathlib.Path, found: str, config: Config) -> None:
  """Raises ConfigError if a difference was found and the config does not rebase the run."""
  if found and config.on_new_hardware == 'refuse':
    raise ConfigError(
      f'{directory} holds a run from other hardware. {found}, so its results do not compare with '
      "new ones. Use another --workdir, or set config.on_new_hardware='rebase' to measure the "
      'baseline and the best program anew here and to go on from these.'
    )


def rebase(workspace: Workspace, started: Started) -> pathlib.Path:
  """Begins a new ledger in place of the old one, which moves to `rebased.N`.

  Args:
    workspace: The run's folder. No ledger is open.
    started: The first event of the new ledger, but for what it has from the old one.

  Returns:
    The folder with the old ledger.
  """
  path, before = workspace.ledger_path, read_history(workspace.directory)
  new = workspace.scratch / 'rebased.db'
  for old in (new, witness_path(new)):
    old.unlink(missing_ok=True)
  with Ledger.read(path) as ledger:
    first = ledger.row(0)
  assert first is not None and before.started is not None
  started = dataclasses.replace(
    started,
    lineage=(*before.started.lineage, first[-1]),
    carried=_best(before),
    spent=before.spend,
  )
  with Ledger.open(new) as ledger:
    after = History.of([ledger.append(started)])
    first_edit = before.edits.get(BASELINE)
    start = first_edit.program if first_edit is not None else None
    for request in before.steering.in_force(before.trials.keys()):
      # Edits are made anew, since trials have other numbers here.
      edits = request.patch or request.program is not None
      event = reviewed(after, request, start) if edits else Steered(request)
      after.apply(ledger.append(event))
  aside = numbered_folder(workspace.directory, 'rebased')
  os.link(path, aside / path.name)
  for name in ('results.tsv', 'repo'):
    with contextlib.suppress(FileNotFoundError):
      (workspace.directory / name).rename(aside / name)
  witness_path(path).unlink(missing_ok=True)
  new.replace(path)  # atomic: at any moment there is one ledger or the other
  witness_path(new).unlink(missing_ok=True)
  return aside


def _best(history: History) -> Edit | None:
  """Returns the edit of the program that was kept last; None if that is the baseline."""
  if history.best is None:
    return None
  edit = history.edits[history.best]
  return None if edit.program == history.edits[0].program else edit
