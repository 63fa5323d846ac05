"""What the fork server imports and warms up while it is idle, so that traces are cheap.

Not needed for the outcome of a trace: a child that imports a standard module which the server has
not imported yet exits with NEEDS_STDLIB (see `ExitOnMissingStdlib`), and is run again.
"""

import contextlib
import gc
import importlib
import os
import pkgutil
import sys
import traceback
import warnings
from collections.abc import Iterator

from autoresearch_jax.tracer import export

# Not imported ahead for programs: modules that need a screen or a terminal, that act on import, or
# that are (or import) held-out text of the `python` corpus, which must not be in memory.
_NOT_IMPORTED = frozenset(
  """
  antigravity this idlelib tkinter turtle turtledemo test lib2to3 distutils ensurepip venv
  encodings readline rlcompleter curses pydoc_data pty tty
  compileall filecmp ftplib imaplib mailbox modulefinder netrc pickletools poplib sched shelve
  smtplib trace wave xmlrpc""".split()
)
STDLIB = sys.stdlib_module_names - _NOT_IMPORTED
_TPU_ATTENTION = 'jax.experimental.pallas.ops.tpu.splash_attention'  # `ops` import it lazily
NEEDS_STDLIB = 71  # exit code of a child that imports a standard module not imported yet


class StandardLibrary:
  """Imports the standard library ahead. Its files may be a problem's data, and so unreadable.

  Attributes:
    remaining: Names of top-level modules that are not imported yet.
  """

  def __init__(self):
    self.remaining = sorted((name for name in STDLIB if not name.startswith('_')), reverse=True)

  def import_one(self) -> None:
    """Imports the next module and its submodules."""
    name = self.remaining.pop()
    _try_to_import(name)
    folders = getattr(sys.modules.get(name), '__path__', ())
    for module in pkgutil.walk_packages(folders, f'{name}.', onerror=lambda _: None):
      if module.name.rpartition('.')[2] not in ('__main__', 'test', 'tests'):
        _try_to_import(module.name)

  def import_all(self) -> None:
    while self.remaining:
      self.import_one()


class ExitOnMissingStdlib:
  """A finder for `sys.meta_path`: ends a child that imports a standard module not imported yet."""

  @staticmethod
  def find_spec(name: str, *_: object) -> None:
    if name.partition('.')[0] in STDLIB:
      os._exit(NEEDS_STDLIB)


def preload(stdlib: StandardLibrary) -> Iterator[None]:
  """Imports the standard library, then warms up jax, in small steps."""
  while stdlib.remaining:
    stdlib.import_one()
    yield
  _try_to_import(_TPU_ATTENTION)
  yield
  yield from _warm_up_jax()
  gc.freeze()  # so that no collection copies these pages in a child
  gc.enable()


def _warm_up_jax() -> Iterator[None]:
  """Optional: programs are traced without it too, and the GPT's file may be being edited."""
  try:
    yield from export.warm_up()
  except Exception:
    traceback.print_exc()


def _try_to_import(name: str) -> None:
  with warnings.catch_warnings(action='ignore'), contextlib.suppress(Exception):
    importlib.import_module(name)  # some are for other systems, or were not built
