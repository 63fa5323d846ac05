"""The library that ships with Python as a corpus: two splits that share nothing, one held out."""

import importlib.util
import pathlib
import shutil
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearch_jax.data import corpus

LIBRARY = corpus.PythonLibrary()
NOTHING_NEEDS_THEM = """
import sys
class Blocked:
  def find_spec(self, name, path=None, target=None):
    if name.partition('.')[0] in sys.argv[1:]:
      raise ImportError(f'{name} is held out')
sys.meta_path.insert(0, Blocked())
import flax, flax.linen, flax.nnx, flax.training.train_state, jax, jax.export, jax.scipy
import jax.experimental.pallas, numpy, numpy.testing, optax, optax.contrib, scipy.optimize
"""


@pytest.fixture
def library(tmp_path):
  """A library as small as may be: the held-out files and a few others."""
  for name in (*corpus.VALIDATION, 'abc.py', 'ast.py', 'json', 'pydoc_data'):
    source, target = LIBRARY.root / name, tmp_path / name
    if source.is_dir():
      shutil.copytree(source, target, ignore=shutil.ignore_patterns('__pycache__'))
    elif source.exists():
      shutil.copy(source, target)
  return tmp_path


def size(documents):
  return sum(len(text.encode()) for text in documents)


def test_there_is_enough_text():
  assert size(LIBRARY.train()) > 5_000_000
  assert size(LIBRARY.validation()) > 500_000


def test_no_document_is_in_both_splits_or_twice():
  train, validation = list(LIBRARY.train()), list(LIBRARY.validation())
  assert len({*train, *validation}) == len(train) + len(validation)


def test_a_copy_of_held_out_text_is_not_trained_on(library):
  before = list(corpus.PythonLibrary(library).train())
  shutil.copy(library / 'mailbox.py', library / 'another.py')
  source = corpus.PythonLibrary(library.parent / library.name / '.')
  corpus._documents.cache_clear()
  assert list(source.train()) == before


def test_documents_are_no_longer_than_the_tokenizer_looks_at():
  assert max(map(len, LIBRARY.train())) <= corpus.MAX


def test_what_was_left_out_is_not_in_the_text(library):
  before = corpus.PythonLibrary(library).fingerprint()
  for name in ('test/test_x.py', 'json/tests/x.py', '_sysconfigdata_x.py', 'site-packages/x.py'):
    (library / name).parent.mkdir(exist_ok=True)
    (library / name).write_text('left_out = True\n')
  corpus._documents.cache_clear()
  assert corpus.PythonLibrary(library).fingerprint() == before


def test_the_fingerprint_changes_with_a_letter_of_either_split(library):
  seen = {corpus.PythonLibrary(library).fingerprint()}
  for name in ('abc.py', 'mailbox.py'):
    path = library / name
    path.write_text(path.read_text() + '# x\n')
    corpus._documents.cache_clear()
    seen.add(corpus.PythonLibrary(library).fingerprint())
  assert len(seen) == 3


def test_the_fingerprint_is_that_of_the_text_and_not_of_the_place(library, tmp_path_factory):
  other = tmp_path_factory.mktemp('elsewhere')
  shutil.copytree(library, other, dirs_exist_ok=True)
  one, two = corpus.PythonLibrary(library), corpus.PythonLibrary(other)
  assert one.fingerprint() == two.fingerprint()
  assert list(one.train()) == list(two.train())


def test_a_stripped_library_is_refused_with_a_sentence(tmp_path):
  (tmp_path / 'abc.py').write_text('x = 1\n')
  with pytest.raises(ValueError, match='0 bytes of the held-out modules'):
    corpus.PythonLibrary(tmp_path).fingerprint()


def test_the_reference_is_in_the_training_text():
  assert any('The "assert" statement' in text for text in LIBRARY.train())


def test_hidden_files_are_all_sources_of_the_corpus_and_their_bytecode():
  hidden = set(LIBRARY.hidden())
  names = [name for name in corpus.VALIDATION if (LIBRARY.root / name).exists()]
  assert {LIBRARY.root / name for name in names} <= hidden
  source = str(LIBRARY.root / 'mailbox.py')
  for level in ('', 1, 2):
    cached = importlib.util.cache_from_source(source, optimization=level)
    assert hidden & {*pathlib.Path(cached).parents}
  assert {LIBRARY.root / name for name in ('abc.py', 'json', 'pydoc_data')} <= hidden
  assert not {LIBRARY.root / name for name in ('encodings', 'lib-dynload')} & hidden


def test_every_document_of_either_split_lies_in_a_hidden_file(library):
  source = corpus.PythonLibrary(library)
  documents = {*source.train(), *source.validation()}
  assert len(documents) > 50
  for path in source.hidden():
    if path.is_dir():
      shutil.rmtree(path)
    else:
      path.unlink(missing_ok=True)
  assert not list(library.rglob('*.py'))
  left = ''.join(p.read_text() for p in library.rglob('*.py'))
  assert not [text for text in documents if text in left and len(text) > 200]


@pytest.mark.slow
def test_nothing_a_candidate_imports_needs_a_held_out_module():
  names = [name.removesuffix('.py') for name in corpus.VALIDATION]
  subprocess.run([sys.executable, '-c', NOTHING_NEEDS_THEM, *names], check=True)


@given(st.lists(st.text('ab \n\tdef', max_size=60), max_size=30))
def test_splitting_loses_nothing(lines):
  text = '\n'.join(lines)
  documents = corpus.split(text)
  assert ''.join(documents) == text
  assert all(documents)


@given(st.integers(1, 40), st.integers(1, 200))
def test_documents_stay_in_bounds_and_begin_with_statements(functions, lines):
  body = ''.join(f'  x{i} = {i}\n' for i in range(lines))
  text = ''.join(f'def f{i}():\n{body}\n\n' for i in range(functions))
  documents = corpus.split(text)
  assert all(len(document) <= corpus.MAX for document in documents)
  if len(body) < corpus.MAX - corpus.SOFT - 50:
    assert all(document.startswith('def ') for document in documents)


def test_a_line_longer_than_any_document_stays_whole():
  text = 'x' * (2 * corpus.MAX) + '\n'
  assert corpus.split('a\n' + text + 'b\n') == ['a\n', text, 'b\n']
