"""The mailbox of a run: a folder in which requests wait until the running process takes them up.

    steering/TIME-ID.json    one `SteeringRequest` each, written atomically

If no process runs, the next one takes them up. A request is removed once its event is in the
ledger. A process that is killed in between finds the request again, and its id among the events.
"""

import contextlib
import dataclasses
import getpass
import os
import pathlib
import secrets
import socket

import msgspec

from autoresearch_jax.clock import monotonic_time
from autoresearch_jax.ledger.requests import MAX_AUTHOR, SteeringError, reviewed
from autoresearch_jax.ledger.store import read_history
from autoresearch_jax.messages import one_line
from autoresearch_jax.types import (
  SteeringRequest,
  Verb,
  from_builtins,
  from_json,
  to_builtins,
  to_json,
)

MAILBOX = 'steering'  # folder
SUFFIX, UNREADABLE = '.json', '.unreadable'
MAX_BYTES = 2**20  # of a request


def post(
  directory: pathlib.Path, verb: Verb | str, *, author: str = '', **fields: object
) -> SteeringRequest:
  """Posts a request to the run in a folder, which may be in progress or not.

  Args:
    directory: The run's folder.
    verb: What is asked for, such as 'hint' or 'pause'.
    author: Who asks; by default user@host.
    **fields: Fields of `SteeringRequest` that the verb needs: `text` for hint, try, protect and
      unprotect, `patch` or `program` for try; `trial` and perhaps `seeds` for remeasure; `ends` for
      end; `request` for withdraw.

  Returns:
    The request, which the run takes up within a second if it is in progress.

  Raises:
    SteeringError: The request cannot be carried out; the message is a sentence.
    LedgerError: There is no run, or its ledger cannot be read.
    OSError: The folder cannot be written.

  Example:
    >>> from autoresearch_jax.ledger.mailbox import post
    >>> import autoresearch_jax as ar
    >>> import pathlib
    >>> run = ar.run('digits', 'runs/digits', max_trials=2, final_seeds=0)
    >>> post(pathlib.Path('runs/digits'), 'hint', text='Wider layers helped elsewhere.').verb.value
    'hint'
  """
  values = {
    'id': secrets.token_hex(8),
    'verb': verb,
    'author': one_line(author, MAX_AUTHOR) or default_author(),
    'time': monotonic_time(),
    **fields,
  }
  try:
    request = from_builtins(to_builtins(values), SteeringRequest)
  except msgspec.ValidationError as error:
    raise SteeringError(f'{error}.'.replace('`$.', '`')) from None
  event = reviewed(read_history(directory), request)
  if event.refused:
    raise SteeringError(event.refused)
  # A program that was accepted is in the event's edit, but the run reviews the request once more.
  request = dataclasses.replace(event.request, program=request.program)
  deliver(directory, request)
  return request


def default_author() -> str:
  """Returns user@host."""
  try:
    user = getpass.getuser()
  except (OSError, KeyError):  # a user id without a name, as in some containers
    user = str(os.getuid())
  return one_line(f'{user}@{socket.gethostname()}', MAX_AUTHOR)


def deliver(directory: pathlib.Path, request: SteeringRequest) -> None:
  """Writes a request into the mailbox, atomically and durably. Raises SteeringError."""
  content = to_json(request)
  if len(content) > MAX_BYTES:
    raise SteeringError(
      f'The request has {len(content):,} bytes; at most {MAX_BYTES:,} are read. Shorten it.'
    )
  folder = directory / MAILBOX
  folder.mkdir(exist_ok=True)
  path = folder / f'{round(request.time * 1e6):020d}-{request.id}{SUFFIX}'
  new = path.with_suffix('.new')
  with new.open('wb') as file:
    file.write(content)
    file.flush()
    os.fsync(file.fileno())
  new.replace(path)


def waiting(directory: pathlib.Path) -> list[tuple[pathlib.Path, SteeringRequest]]:
  """Returns the requests in the mailbox with their files, oldest first. Reads only."""
  return [(path, request) for path, request in _read(directory) if request is not None]


class Mailbox:
  """The mailbox as the running process sees it.

  Attributes:
    directory: The run's folder.
  """

  def __init__(self, directory: pathlib.Path):
    self.directory = directory
    self._paths: dict[str, pathlib.Path] = {}  # of requests that were collected, by id

  def collect(self) -> list[SteeringRequest]:
    """Returns the requests that came since the last call. Files that hold none are set aside."""
    found = []
    for path, request in _read(self.directory):
      if request is None:
        with contextlib.suppress(OSError):
          path.rename(path.with_suffix(UNREADABLE))
      elif request.id not in self._paths:
        self._paths[request.id] = path
        found.append(request)
    return found

  def remove(self, request: str) -> None:
    """Removes a request whose event is in the ledger."""
    if (path := self._paths.get(request)) is not None:
      with contextlib.suppress(OSError):
        path.unlink()


def _read(directory: pathlib.Path) -> list[tuple[pathlib.Path, SteeringRequest | None]]:
  """Returns the files of the mailbox in order, with None for one that is no request."""
  try:
    paths = sorted(path for path in (directory / MAILBOX).iterdir() if path.suffix == SUFFIX)
  except OSError:
    return []
  found = []
  for path in paths:
    try:
      if path.stat().st_size > MAX_BYTES:
        found.append((path, None))
        continue
      found.append((path, from_json(path.read_bytes(), SteeringRequest)))
    except (msgspec.MsgspecError, UnicodeDecodeError):
      found.append((path, None))
    except OSError:  # removed meanwhile, or not readable
      continue
  return found
