"""The place that is attacked: a tracer and a runner that all attacks share, and a run's folder.

After each attack nothing in the house may have changed, and no process may be left. After every few
the innocent program runs again and must give the bits it gave at first: what an attack did to the
tracer or the runner still holds then, or has ended with them. Attacks are bounded, so that where a
defence fails its test fails and the machine lives.
"""

import ast
import dataclasses
import hashlib
import itertools
import os
import pathlib
import time

import pygit2
import pytest
from helpers.tiny_language import SPEC, STEPS, make_dataset, program

from autoresearch_jax.config import Limits
from autoresearch_jax.executors.local import LocalExecutor
from autoresearch_jax.sandbox import tracer_policy
from autoresearch_jax.types import Dataset, Program, Result, Status, TrialRequest

SECRET = 'key-' + '7f3a' * 6
LIMITS = Limits(
  trace_seconds=8, trace_cpu_seconds=4, trace_bytes=6 * 2**30, step_seconds=4, compile_seconds=60
)
PROVED_EACH = 4  # attacks until the innocent program runs again


def pytest_collection_modifyitems(items):
  here = pathlib.Path(__file__).parent
  for item in items:
    if here in item.path.parents:
      item.add_marker(pytest.mark.slow)


@dataclasses.dataclass
class Arena:
  """house: what a run has on disk. validation: the file that must not be read.

  bits: what the innocent program measured at first. unproven: attacks since it did so again.
  """

  executor: LocalExecutor
  house: pathlib.Path
  dataset: Dataset
  secret: str = SECRET
  bits: dict[str, float] | None = None
  unproven: int = 0
  trials: itertools.count = dataclasses.field(default_factory=lambda: itertools.count(1))

  @property
  def validation(self) -> str:
    return f'{self.dataset.validation}/rows.npy'

  def run(self, text: str, **siblings: str) -> Result:
    """One trial to its end."""
    files = {'model.py': text, **{f'{name}.py': more for name, more in siblings.items()}}
    request = TrialRequest(
      next(self.trials), Program(tuple(files.items()), 'model.py'), (0,), STEPS
    )
    self.executor.submit(request)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
      for news in self.executor.wait(1.0):
        if isinstance(news, Result):
          return news
    raise AssertionError('the attack gave no result')

  def innocent(self) -> dict[str, float]:
    """What an innocent program measures; its text is new each time, so it is traced each time."""
    result = self.run(f'# {next(self.trials)}\n{program()}')
    assert result.status == Status.OK, result.reason
    return result.measurements[0].metrics

  def attack(self, text: str, **siblings: str) -> Result:
    """Runs an attack, and sees that nothing came of it."""
    before = contents(self.house)
    result = self.run(text, **siblings)
    assert '\n' not in result.reason and len(result.reason) < 2000
    assert contents(self.house) == before
    server = self.executor.pids()['tracer']
    children = pathlib.Path(f'/proc/{server}/task/{server}/children').read_text().split()
    assert not children, 'a process outlived its trace'
    self.unproven += 1
    if self.unproven == PROVED_EACH:
      self.prove()
    return result

  def prove(self) -> None:
    """The innocent program still gives its bits, whatever the last attacks did."""
    attacks, self.unproven = self.unproven, 0
    assert self.innocent() == self.bits, f'one of the last {attacks} attacks changed it'

  def refused(
    self, text: str, *words: str, status: Status = Status.INVALID, **siblings: str
  ) -> str:
    """The sentence that ended an attack: it has `words`, and nothing was measured."""
    result = self.attack(text)
    assert result.status == status, result
    assert not result.measurements
    for word in words:
      assert word in result.reason, result.reason
    return result.reason

  def at_import(self, code: str, *words: str, status: Status = Status.INVALID) -> str:
    return self.refused(f'{code}\n{program()}', *words, status=status)

  def told(self, expression: str, before: str = '') -> str:
    """What an expression is inside of the sandbox; the attack tells it in an exception."""
    reason = self.at_import(f'{before}\nraise ValueError("<" + str({expression}) + ">")')
    assert '<' in reason and '>' in reason, reason
    return reason.partition('<')[2].rpartition('>')[0]

  def done(self, attempts: dict[str, str], before: str = '') -> dict[str, str]:
    """Tries each statement; what each came to: 'done' or the name of the error."""
    code = f"""
{before}
import errno
came = []
for attempt in {list(attempts.values())!r}:
  try:
    exec(attempt, globals())
    came.append('done')
  except OSError as error:
    came.append(errno.errorcode.get(error.errno, 'OSError'))
  except BaseException as error:
    came.append(type(error).__name__)
"""
    return dict(zip(attempts, ast.literal_eval(self.told('came', code)), strict=True))


def contents(folder: pathlib.Path) -> dict[str, tuple[int, str]]:
  """Mode and digest of everything in a folder, its links not followed."""
  return {
    str(path.relative_to(folder)): (
      path.lstat().st_mode,
      hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else '',
    )
    for path in sorted(folder.rglob('*'))
  }


@pytest.fixture(scope='session')
def arena(tmp_path_factory):
  if not tracer_policy.available_isolation().files:
    pytest.skip('this kernel has no Landlock or no seccomp')
  house = tmp_path_factory.mktemp('house')
  dataset = make_dataset(house)
  pygit2.init_repository(str(house / 'repo'))
  for name in ('ledger.db', 'results.tsv', 'config.py', 'repo/.git/hooks/post-commit'):
    (house / name).parent.mkdir(parents=True, exist_ok=True)
    (house / name).write_text(f'the {name}\n')
  folder = tmp_path_factory.mktemp('executor')
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv('ATTACKED_API_KEY', SECRET)
    executor = LocalExecutor(
      SPEC,
      dataset,
      (pathlib.Path(dataset.validation),),
      LIMITS,
      folder / 'scratch',
      folder / 'cache',
    )
    made = Arena(executor, house, dataset)
    made.bits = made.innocent()
    (folder / 'scratch' / 'link').symlink_to(made.validation)
    yield made
    made.prove()
    executor.close()
    for pid in filter(None, executor.pids().values()):
      with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
