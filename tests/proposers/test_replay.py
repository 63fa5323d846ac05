"""`replay`: another run's edits, or a folder's, in their order, also after a kill."""

import collections
import dataclasses
import pathlib
import re
import shutil
import types as pytypes

import numpy as np
import pytest
from helpers.synthetic_run import SPEC, START, Arithmetic, Nudge, run

from autoresearch_jax import types
from autoresearch_jax.ledger.history import History
from autoresearch_jax.ledger.store import Ledger
from autoresearch_jax.proposers import NothingToPropose, ProposalContext
from autoresearch_jax.proposers.replay import EditMetadata, Replay

IMPROVE = types.Proposal(types.Operation.IMPROVE, parents=(0,))
WIDER = '--- a/model.py\n+++ b/model.py\n@@ -1 +1 @@\n-X = 3.0\n+X = 4.0\n'
TALLER = '--- a/model.py\n+++ b/model.py\n@@ -2 +2 @@\n-Y = -2.0\n+Y = 1.0\n'


@dataclasses.dataclass
class Signed(Nudge):
  """Nudges that say who wrote them, a few of them with the same words."""

  def propose(self, proposal, context, rng):
    edit = super().propose(proposal, context, rng)
    while edit.program.digest in context.tried or context.check_duplicate(edit.program):
      edit = super().propose(proposal, context, rng)
    return dataclasses.replace(edit, author='a-model', role='nudger')


@pytest.fixture(scope='module')
def source(tmp_path_factory):
  directory = tmp_path_factory.mktemp('recorded')
  run(directory, max_trials=25, prefetch=0, proposer=Signed())
  return directory


def recorded(directory):
  with Ledger.read(pathlib.Path(directory) / 'ledger.db') as ledger:
    return History.of(ledger.records())


def edits(directory):
  history = recorded(directory)
  return [e for t, e in history.edits.items() if history.original(t) == t]


def context(program=START, trials=(), tried=(), **changed):
  """Where trials, a program each, were finished, and programs tried."""
  made = ProposalContext(
    (program,),
    pytypes.MappingProxyType({t.id: t for t in trials}),
    ('model.py',),
    types.Objective('val_loss', 'minimize'),
    SPEC,
    frozenset({t.edit.program.digest for t in trials} | {p.digest for p in tried}),
  )
  return dataclasses.replace(made, **changed)


def trial(number, edit, operation=types.Operation.IMPROVE):
  result = types.Result(number, types.Status.OK)
  return types.Trial(number, types.Proposal(operation, parents=(0,)), edit, result)


def baseline():
  return trial(0, types.Edit(START, 'baseline', types.Hypothesis('')), types.Operation.DRAFT)


def propose(proposer, *arguments, **named):
  return proposer.propose(IMPROVE, context(*arguments, **named), np.random.default_rng(0))


def folder(path, **texts):
  for name, text in texts.items():
    (path / f'{name}.patch').write_text(text)
  return Replay(str(path))


def test_a_replayed_run_is_the_recorded_one(source, tmp_path):
  run(tmp_path, max_trials=25, prefetch=0, proposer=Replay(str(source)))
  assert edits(tmp_path) == edits(source)
  assert len(edits(source)) > 15
  tables = [(d / 'results.tsv').read_text().splitlines() for d in (source, tmp_path)]
  without_commits = [[line.split('\t')[1:] for line in table] for table in tables]
  assert without_commits[0] == without_commits[1]


def test_a_run_that_is_stopped_goes_on_with_the_next(source, tmp_path):
  for stop in (1, 6, 7, 16, 25):
    run(tmp_path, max_trials=stop, prefetch=0, proposer=Replay(str(source / 'ledger.db')))
  assert edits(tmp_path) == edits(source)


@pytest.mark.parametrize('slots', [1, 3])
def test_prepared_ahead_and_beside_others_none_is_proposed_twice(source, tmp_path, slots):
  """Parents are others than they were, so some edits do not fit; the others come once."""
  proposer, executor = Replay(str(source)), Arithmetic(slots=slots)
  run(tmp_path, max_trials=60, prefetch=2, proposer=proposer, executor=executor)
  recorded = collections.Counter(r.metadata for r in proposer.recorded)
  proposed = collections.Counter(map(EditMetadata.of, edits(tmp_path)[1:]))
  assert proposed <= recorded
  assert proposed.total() > len(proposer.recorded) // 3


def test_when_all_were_proposed_the_run_ends(source, tmp_path):
  research = run(tmp_path, max_trials=60, prefetch=0, proposer=Replay(str(source)))
  with Ledger.read(tmp_path / 'ledger.db') as ledger:
    events = [record.event for record in ledger.records()]
  count = len(edits(source)) - 1
  assert re.search(rf'All {count} recorded edits of \S+ were proposed\.', repr(events))
  assert 'produced no program' in events[-1].reason
  assert [e.program for e in edits(tmp_path)] == [e.program for e in edits(source)]
  assert not research.broken


def test_what_was_kept_alone_gives_the_same_best_program(source, tmp_path):
  proposer = Replay(str(source), kept_only=True)
  assert len(proposer.recorded) == len(recorded(source).kept_programs) - 1 > 0
  run(tmp_path, max_trials=60, prefetch=0, proposer=proposer)
  best = [recorded(d).incumbent for d in (source, tmp_path)]
  assert best[0] and best[1] and best[0].edit.program == best[1].edit.program


def test_trials_under_way_are_not_proposed_again(tmp_path):
  start = START.with_text(''.join(f'C{n} = 0\n' for n in range(5)))
  patches = {
    f'p{n}': f'--- model.py\n+++ model.py\n@@ -{n + 1} +{n + 1} @@\n-C{n} = 0\n+C{n} = 1\n'
    for n in range(5)
  }
  proposer, tried, underway = folder(tmp_path, **patches), [start], {}
  assert proposer.title == f'replay: 5 edits of {tmp_path}'
  for name in patches:
    made = propose(proposer, start, [], tried, pending=underway)
    assert made.description == name
    tried.append(made.program)
    underway[len(tried)] = made


def test_under_way_on_another_program_counts_too(tmp_path):
  proposer = folder(tmp_path, a=WIDER, b=TALLER)
  other = START.with_text('X = 3.0\nY = -2.0\nZ = 1\n')
  trials = [baseline(), trial(1, types.Edit(other, 'add Z', types.Hypothesis('')))]
  first = propose(proposer, other, trials)
  assert first.description == 'a'
  made = propose(proposer, START, trials, [first.program], pending={2: first})
  assert made.description == 'b'


def test_an_edit_is_made_again_on_another_program(source):
  edit = Replay(str(source)).recorded[0]
  other = START.with_text('# new\n' + START.text())
  made = propose(Replay(str(source)), other)
  assert made.program.text() == '# new\n' + edits(source)[1].program.text()
  assert (made.description, made.author, made.role) == (
    edit.metadata.description, 'a-model', 'nudger',
  )  # fmt: skip


def test_what_does_not_fit_waits_for_a_program_that_it_fits(tmp_path):
  proposer = folder(tmp_path, a=WIDER, b=TALLER)
  other = START.with_text('X = 7.0\nY = -2.0\n')
  made = propose(proposer, other)
  assert (made.description, made.program.text()) == ('b', 'X = 7.0\nY = 1.0\n')
  trials = [baseline(), trial(1, made)]
  assert propose(proposer, START, trials).description == 'a'
  with pytest.raises(NothingToPropose, match=r'None of the 1 .* fits model\.py\. a\.patch.*differ'):
    propose(proposer, other, trials)


@pytest.mark.parametrize(
  ('named', 'reason'),
  [
    ({'editable': ('notes.py',)}, 'changes model.py, which is not editable'),
    ({'tried': frozenset({START.with_text('X = 4.0\nY = -2.0\n').digest})}, 'tried before'),
    (
      {'check_duplicate': lambda program: 'It nearly repeats trial 3.'},
      'It nearly repeats trial 3',
    ),
  ],
)
def test_the_context_is_obeyed(tmp_path, named, reason):
  with pytest.raises(NothingToPropose, match=reason):
    folder(tmp_path, a=WIDER).propose(
      IMPROVE, dataclasses.replace(context(), **named), np.random.default_rng(0)
    )


def test_the_program_that_has_it_already_is_left_alone(tmp_path):
  proposer = folder(tmp_path, a=WIDER)
  with pytest.raises(NothingToPropose, match='has this change already'):
    propose(proposer, START.with_text('X = 4.0\nY = -2.0\n'), [baseline()])


def test_again_begins_with_those_proposed_less_often(tmp_path):
  folder(tmp_path, a=WIDER, b=TALLER)
  proposer = Replay(str(tmp_path), cycle=True)
  trials, program = [baseline()], START
  for number, name in enumerate(['a', 'b', 'a', 'b', 'a'], 1):
    program = program.with_text(f'{START.text()}# {number}\n')
    made = propose(proposer, program, trials)
    assert made.description == name
    trials.append(trial(number, made))


def test_edits_with_the_same_words_are_told_apart_by_their_order(tmp_path):
  message = 'nudge\n\n'
  proposer = folder(tmp_path, a=message + WIDER, b=message + TALLER)
  first = propose(proposer, START, [baseline()])
  second = propose(proposer, START, [baseline(), trial(1, first)])
  texts = [first.program.text(), second.program.text()]
  assert texts == ['X = 4.0\nY = -2.0\n', 'X = 3.0\nY = 1.0\n']


def test_replications_and_the_baseline_count_as_nothing(tmp_path):
  proposer = folder(tmp_path, a=WIDER, b=TALLER)
  words = proposer.recorded[0].metadata.edit(START)
  repeat = trial(1, words, types.Operation.REPLICATE)
  assert propose(proposer, START, [trial(0, words), repeat]).description == 'a'


def test_a_patch_says_what_it_does_and_why(tmp_path):
  message = 'Widen X\x1b[2J\n\nClaim: X is narrow\nMechanisms: width\nPredicted-Effect: +1 ± 2\n\n'
  made = propose(folder(tmp_path, a=message + WIDER))
  assert made.description == 'Widen X [2J'
  assert made.hypothesis == types.Hypothesis('X is narrow.', ('width',), 1.0, 2.0)


def test_a_patch_of_the_start_is_merged_into_what_came_of_it(tmp_path):
  proposer = folder(tmp_path, a=WIDER.replace('@@ -1 +1 @@', '@@ -1,2 +1,2 @@') + ' Y = -2.0\n')
  other = START.with_text('X = 3.0\nY = 5.0\n')
  assert propose(proposer, other, [baseline()]).program.text() == 'X = 4.0\nY = 5.0\n'


def test_the_wrong_source_is_named(tmp_path, source):
  (tmp_path / 'empty').mkdir()
  (tmp_path / 'ledger.db').write_text('no database at all, but long enough to be looked at')
  cases = {
    '': 'has no source',
    str(tmp_path / 'nowhere'): 'is neither a ledger nor a folder',
    str(tmp_path / 'empty'): r'has no ledger\.db and no file that ends in \.patch or \.diff',
    str(tmp_path): 'cannot be used as a ledger',
  }
  for wrong, sentence in cases.items():
    with pytest.raises(ValueError, match=sentence):
      Replay(wrong)
  shutil.copy(source / 'ledger.db', tmp_path / 'copy.db')
  assert Replay(str(tmp_path / 'copy.db')).recorded


def test_a_run_without_edits_is_no_source(tmp_path):
  run(tmp_path, max_trials=1)
  with pytest.raises(ValueError, match='has no edit to propose again'):
    Replay(str(tmp_path))


@pytest.mark.parametrize(
  ('data', 'sentence'),
  [
    (b'Raise it, please.\n', 'no unified diff'),
    (b'\xff\xfe', 'is not text in UTF-8'),
    (WIDER.replace('model.py', '../model.py').encode(), 'not a plain path'),
    (b'diff --git a/x b/x\nGIT binary patch\n', 'binary'),
  ],
)
def test_a_patch_that_cannot_be_is_refused_by_name(tmp_path, data, sentence):
  (tmp_path / 'good.patch').write_text(WIDER)
  (tmp_path / 'wrong.diff').write_bytes(data)
  with pytest.raises(ValueError, match=rf'wrong\.diff .*{sentence}'):
    Replay(str(tmp_path))


def test_what_is_kept_is_a_question_to_runs(tmp_path):
  folder(tmp_path, a=WIDER)
  with pytest.raises(ValueError, match='kept_only applies to runs'):
    Replay(str(tmp_path), kept_only=True)
