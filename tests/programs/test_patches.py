"""Unified diffs: made by difflib and by git they apply; what is hostile or broken is refused."""

import difflib
import subprocess

import hypothesis
import pytest
from hypothesis import strategies as st

from autoresearch_jax.programs import patches
from autoresearch_jax.types import Hypothesis, Program

LINES = st.lists(st.sampled_from(['A = 1', 'B = 2', '', '-- ', '--- x', '+++ y', '@@ z']))
TEXTS = st.tuples(LINES, st.booleans()).map(lambda t: '\n'.join(t[0]) + '\n' * t[1])


def program(text='A = 1\nB = 2\nC = 3\n', **others):
  files = {'model.py': text, **{f'{name}.py': text for name, text in others.items()}}
  return Program(tuple(files.items()), 'model.py')


def diff(before, after, name='model.py', context=3):
  """As `diff -u` writes it."""
  lines = difflib.unified_diff(
    before.splitlines(True), after.splitlines(True), f'a/{name}', f'b/{name}', n=context
  )
  missing = '\n\\ No newline at end of file\n'
  return ''.join(line if line.endswith('\n') else line + missing for line in lines)


@hypothesis.given(TEXTS, TEXTS)
def test_a_diff_makes_the_one_text_of_the_other(before, after):
  hypothesis.assume(before and before != after)
  patch = patches.parse(diff(before, after))
  assert patches.apply_patch(patch, program(before)) == program(after)


@hypothesis.given(TEXTS, TEXTS, TEXTS)
def test_on_another_program_it_applies_exactly_or_not_at_all(before, after, other):
  hypothesis.assume(before and before != after)
  made = patches.apply_patch(patches.parse(diff(before, after)), program(other))
  if made is not None:
    removed = set(before.splitlines()) - set(after.splitlines())
    assert removed <= set(other.splitlines())


def test_git_and_the_commits_of_a_run_are_understood(tmp_path):
  before, after = program(old='X = 1\n'), program('A = 2\nB = 2\nC = 3\n', new='Y = 1\n')
  message = 'Raise A\n\nA is too small\nfor all I know.\n\nMechanisms: constants, A\n'
  message += 'Predicted-Effect: +0.25 ± 0.5\nTrial: 3\n'
  identity = ['-c', 'user.name=someone', '-c', 'user.email=someone@localhost']

  def git(*arguments):
    command = ['git', '-C', str(tmp_path), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout

  git('init', '-q')
  before.write(tmp_path)
  git('add', '.')
  git('commit', '-qm', 'start')
  (tmp_path / 'old.py').unlink()
  after.write(tmp_path)
  git('add', '-A')
  git('commit', '-qm', message)
  patch = patches.parse(git('format-patch', '--stdout', '--no-renames', '-1'))
  assert patches.apply_patch(patch, before) == after
  assert patch.description == 'Raise A'
  claim = 'A is too small for all I know.'
  assert patch.hypothesis == Hypothesis(claim, ('constants', 'A'), 0.25, 0.5)
  assert patches.apply_patch(patches.parse(git('diff', '--no-renames', 'HEAD~')), before) == after


def test_a_hunk_moves_to_the_one_place_that_has_its_lines():
  patch = patches.parse(diff('A = 1\nB = 2\n', 'A = 1\nB = 3\n'))
  assert patches.apply_patch(patch, program('new\nlines\nA = 1\nB = 2\nend')) == program(
    'new\nlines\nA = 1\nB = 3\nend'
  )
  assert patches.apply_patch(patch, program('new\nA = 1\nB = 2\nA = 1\nB = 2\n')) is None
  assert patches.apply_patch(patch, program('A = 1\nB = 5\n')) is None


def test_a_file_that_is_there_is_not_added_and_a_missing_one_not_changed():
  adds = '--- /dev/null\n+++ b/new.py\n@@ -0,0 +1 @@\n+N = 1\n'
  assert patches.apply_patch(patches.parse(adds), program()) == program(new='N = 1\n')
  assert patches.apply_patch(patches.parse(adds), program(new='')) is None
  assert (
    patches.apply_patch(patches.parse(diff('X = 1\n', 'X = 2\n', 'gone.py')), program()) is None
  )


def test_the_entry_is_not_removed():
  removes = '--- a/model.py\n+++ /dev/null\n@@ -1 +0,0 @@\n-A = 1\n'
  assert patches.apply_patch(patches.parse(removes), program('A = 1\n')) is None


BODY = '@@ -1 +1 @@\n-A\n+B\n'


@pytest.mark.parametrize(
  ('text', 'sentence'),
  [
    ('', 'no unified diff'),
    ('Raise the rate, please.\n', 'no unified diff'),
    (f'--- a/../x.py\n+++ b/../x.py\n{BODY}', "'../x.py' is not a plain path"),
    (f'--- /etc/x\n+++ /etc/x\n{BODY}', "'/etc/x' is not a plain path"),
    (f'--- a/./x\n+++ b/./x\n{BODY}', 'not a plain path'),
    (f'--- "a/\\303.py"\n+++ "b/\\304.py"\n{BODY}', 'a rename'),
    (f'--- a/x.py\n+++ b/y.py\n{BODY}', "'x.py' becomes 'y.py': a rename"),
    (f'--- /dev/null\n+++ /dev/null\n{BODY}', "'/dev/null' is not a plain path"),
    ('diff --git a/x b/x\nBinary files a/x and b/x differ\n', 'Line 2: it changes a binary file'),
    ('diff --git a/x b/x\nGIT binary patch\nliteral 1\n', 'binary'),
    ('diff --git a/x b/x\nnew file mode 120000\n', 'other than a regular file'),
    ('diff --git a/x b/x\nnew file mode 160000\n', 'other than a regular file'),
    ('diff --git a/x b/y\nsimilarity index 90%\nrename from x\n', 'renames or copies'),
    ('diff --git a/x b/x\nold mode 100644\nnew mode 100755\n', 'changes no lines'),
    ('--- a/x\n+++ b/x\n', 'Line 2: x has no hunk'),
    ('--- a/x\n+++ b/x\n@@ -1 @@\n-A\n+B\n', 'not the beginning of a hunk'),
    (f'--- a/x\n+++ b/x\n@@ -{"9" * 5000} +1 @@\n-A\n', 'not the beginning of a hunk'),
    ('--- a/x\n+++ b/x\n@@ -1,3 +1,3 @@\n-A\n+B\n', 'fewer lines'),
    ('--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n-A\n+B\n?\n', 'fewer lines'),
    (f'--- a/x\n+++ b/x\n{BODY}+C\n', 'more lines'),
    ('--- a/x\n+++ b/x\n@@ -1 +1,2 @@\n-A\n B\n C\n', 'more lines'),
    ('--- a/x\n+++ b/x\n@@ -1,0 +2 @@\n+A\n', 'ambiguous'),
    (f'--- a/x\n+++ b/x\n{BODY}and some prose\n', "'and some prose' is not part"),
    (f'--- a/x\n+++ b/x\n{BODY}--- a/x\n+++ b/x\n{BODY}', 'two places'),
  ],
)
def test_what_is_hostile_or_broken_is_refused_in_a_sentence(text, sentence):
  with pytest.raises(patches.PatchError) as refused:
    patches.parse(text)
  assert sentence in str(refused.value)
  assert str(refused.value).endswith('.')


@hypothesis.given(st.text(st.sampled_from('-+ @1,ab/\n\\'), max_size=200))
def test_no_text_breaks_the_reader(text):
  try:
    patch = patches.parse(f'--- a/x\n+++ b/x\n{text}')
  except patches.PatchError:
    return
  patches.apply_patch(patch, program(x=''))


@pytest.mark.parametrize('effect', ['', 'much', '1.2.3', '+1 ± much', '1e999'])
def test_an_effect_that_is_no_number_is_left_out(effect):
  patch = patches.parse(f'Do it\n\nPredicted-Effect: {effect}\n\n{diff("A", "B")}')
  assert patch.hypothesis == Hypothesis('Do it.')
