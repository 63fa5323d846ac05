"""Which edits of source code change the digests that results are stored under."""

import importlib.util
import pathlib
import shutil
import subprocess
import sys

import grimp
import pytest

from autoresearch_jax.acceptance import ACCEPTANCE
from autoresearch_jax.benchmark import sources
from autoresearch_jax.search import STRATEGIES
from autoresearch_jax.search.greedy import Greedy
from autoresearch_jax.search.random import Random

MODULE = """
from autoresearch_jax.search.random import Random
SHARE = {share}
class Mine(Random):
  pass
"""


def mine(tmp_path, text, name='a_module_of_mine'):
  """The class of a module with this text, imported anew."""
  path = tmp_path / f'{name}.py'
  path.write_text(text)
  spec = importlib.util.spec_from_file_location(name, path)
  module = importlib.util.module_from_spec(spec)
  sys.modules[name] = module
  spec.loader.exec_module(module)
  return module.Mine


def test_an_edit_anywhere_in_the_module_is_other_code(tmp_path):
  first, same, other = (
    sources.digest([mine(tmp_path, MODULE.format(share=s))]) for s in ('0.5', '0.5', '0.25')
  )
  assert first == same != other


def test_a_base_class_counts(tmp_path):
  (tmp_path / 'base').mkdir()
  derived = 'from {name} import Mine as Base\nclass Mine(Base):\n  pass\n'
  digests = []
  for share in ('0.5', '0.25'):
    mine(tmp_path / 'base', MODULE.format(share=share), 'a_base_of_mine')
    digests.append(sources.digest([mine(tmp_path, derived.format(name='a_base_of_mine'))]))
  assert digests[0] != digests[1]


def test_a_wrapper_stands_for_what_it_wraps_too():
  alone = sources.classes(STRATEGIES, 'greedy', {})
  default = sources.classes(STRATEGIES, 'restarts', {})
  nested = {'inner': 'novelty', 'inner_options': {'inner': 'random'}}
  names = [kind.__name__ for kind in sources.classes(STRATEGIES, 'restarts', nested)]
  assert alone == [Greedy] and default[1:] == [Greedy]
  assert names == ['Restarts', 'Novelty', 'Random']
  assert len(sources.classes(ACCEPTANCE, 'simplicity', {})) == 2


@pytest.mark.parametrize(
  ('edited', 'changed'),
  [
    ('search/archive.py', {'class'}),
    ('research/controller.py', {'run'}),
    ('research/decisions.py', {'run'}),
    ('ledger/history.py', {'run'}),
    ('rng.md', set()),
  ],
)
def test_an_edit_of_the_library_changes_the_digests_that_cover_it(tmp_path, edited, changed):
  """In a copy of the library, one of whose files is edited."""
  library = pathlib.Path(sources.__file__).parent.parent
  ignored = shutil.ignore_patterns('__pycache__')
  shutil.copytree(library, tmp_path / 'autoresearch_jax', ignore=ignored)
  with (tmp_path / 'autoresearch_jax' / edited).open('a') as file:
    file.write('\n# edited\n')
  code = (
    'from autoresearch_jax.benchmark import sources\n'
    'from autoresearch_jax.search.random import Random\n'
    'print(sources.digest([Random]), sources.run_digest())'
  )
  found = subprocess.run(
    [sys.executable, '-c', code], cwd=tmp_path, env={'PYTHONPATH': str(tmp_path)}, text=True,
    capture_output=True, check=True,
  )  # fmt: skip
  here = {'class': sources.digest([Random]), 'run': sources.run_digest()}
  there = dict(zip(here, found.stdout.split(), strict=True))
  assert {kind for kind in here if here[kind] != there[kind]} == changed


# Imported by a simulated run and without effect on its decisions.
NOT_COVERED = (
  'acceptance',  # by the digest of the rule
  'search',  # by the digest of the strategy
  'benchmark.simulations',  # by the digest of the problem
  'knowledge',  # settings that a simulated run leaves off: memory, planner, duplicate_tolerance
  'programs',  # moves prepared edits, and a simulated run prepares none
  'config',
  'ledger.events',
  'ledger.requests', 'ledger.steering', 'research.steering',  # nobody steers a simulated run
  'models.states',  # of saved parameters, which a simulated run has none of
  'messages',
  'proposers',
  'registry',
)  # fmt: skip


def test_all_that_decides_in_a_simulated_run_is_covered():
  graph = grimp.build_graph('autoresearch_jax', cache_dir=None)
  imported = graph.find_upstream_modules('autoresearch_jax.benchmark.runners.simulate')
  covered = {module.__name__ for module in sources.RUN_MODULES}
  left = {name.removeprefix('autoresearch_jax.') for name in imported - covered}
  assert {n for n in left if not f'{n}.'.startswith(tuple(f'{m}.' for m in NOT_COVERED))} == set()


def test_code_without_a_file_has_a_digest_too():
  typed = type('Typed', (), {'__module__': 'a_prompt'})
  assert len(sources.digest([typed])) == 64
