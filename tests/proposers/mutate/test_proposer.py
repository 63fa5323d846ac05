"""Random edits of all programs: they parse, keep what they do not touch, learn, and trace."""

import ast
import dataclasses
import difflib
import itertools
import json
import subprocess
import sys

import numpy as np
import pytest
from helpers import HELPERS
from hypothesis import given, settings
from hypothesis import strategies as st

from autoresearch_jax import types
from autoresearch_jax.knowledge import Question
from autoresearch_jax.programs import catalogue
from autoresearch_jax.programs.source import Source
from autoresearch_jax.programs.start import PROGRAMS, with_constants
from autoresearch_jax.programs.structural_edits import available
from autoresearch_jax.proposers import NothingToPropose, ProposalContext
from autoresearch_jax.proposers.mutate.constant_edits import constant_edits
from autoresearch_jax.proposers.mutate.proposer import Mutate
from autoresearch_jax.proposers.mutate.steps import FactorRange

pytestmark = pytest.mark.slow

OBJECTIVE = types.Objective('val_bpb', 'minimize')
MLP_SPEC = types.Spec(
  'supervised', 'cpu', 1, types.Budget(300, 'steps'), input_shape=(64,), num_classes=10
)
GPT_SPEC = types.Spec(
  'language_model', 'cpu', 1, types.Budget(12.0), vocab_size=256, sequence_length=128
)
PACKING_SPEC = types.Spec(
  'construction', 'cpu', 1, types.Budget(200, 'steps'), output_shape=(26, 3)
)
SPECS = {'mlp': MLP_SPEC, 'gpt': GPT_SPEC, 'packing': PACKING_SPEC}
TRACING = HELPERS / 'tracing.py'


def start(name):
  program = types.Program.read(PROGRAMS / name, ('model.py',), 'model.py')
  small = {'DEPTH': 4, 'ASPECT_RATIO': 32, 'HEAD_DIM': 32, 'BATCH_SIZE': 16}
  return with_constants(program, small) if name == 'gpt' else program


def propose(program, seed, tried=(), proposal=None, history=None, **options):
  context = ProposalContext(
    (program,), history or {}, ('model.py',), OBJECTIVE, MLP_SPEC, frozenset(tried)
  )
  proposal = proposal or types.Proposal(types.Operation.IMPROVE, parents=(0,))
  return Mutate(**options).propose(proposal, context, np.random.default_rng(seed))


def chain(name, seed, length=20):
  """Programs of a lineage, each an edit of the one before."""
  programs = [start(name)]
  for number in range(length):
    tried = [p.digest for p in programs]
    programs.append(propose(programs[-1], (seed, number), tried).program)
  return programs


def check_chain(name, seed):
  programs = chain(name, seed)
  assert len({p.digest for p in programs}) == len(programs)
  for before, after in itertools.pairwise(programs):
    ast.parse(after.text())
    old, new = before.text().splitlines(), after.text().splitlines()
    changes = difflib.SequenceMatcher(None, old, new, False).get_opcodes()
    touched = sum(max(i2 - i1, j2 - j1) for tag, i1, i2, j1, j2 in changes if tag != 'equal')
    assert 0 < touched <= 12


@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_chains_of_edits_parse_and_leave_other_lines_alone(seed):
  check_chain('mlp', seed)


@pytest.mark.parametrize('name', ['mlp', 'gpt'])
@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_chains_of_edits_parse_in_both_programs(name, seed):
  check_chain(name, seed)


def trace(texts, spec):
  """For each program '' or why it does not trace, found in a process that has jax."""
  lines = [json.dumps({'text': text, 'spec': types.to_builtins(spec)}) for text in texts]
  command = [sys.executable, str(TRACING)]
  done = subprocess.run(
    command, input='\n'.join(lines), capture_output=True, text=True, check=True, timeout=280
  )
  return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize('name', sorted(SPECS))
def test_nine_of_ten_random_edits_trace(name):
  program = start(name)
  edits = [propose(program, (1, seed)) for seed in range(40)]
  broken = '\n\ndef predict(state, inputs):\n  return inputs[0]\n'
  *errors, known = trace([*(e.program.text() for e in edits), program.text() + broken], SPECS[name])
  failed = {e.description: error for e, error in zip(edits, errors, strict=True) if error}
  assert known, 'a program that breaks the contract was not noticed'
  assert len(failed) <= 4, failed


@pytest.mark.parametrize('name', sorted(SPECS))
def test_lineages_of_edits_trace(name):
  texts = [chain(name, seed, 12)[-1].text() for seed in range(4)]
  errors = trace(texts, SPECS[name])
  assert sum(map(bool, errors)) <= 1, errors


def test_the_mix_has_the_shares_asked_for():
  for share in (0.0, 1.0):
    options = {'structural_share': share, 'coupled_share': 0.0}
    tags = [propose(start('mlp'), s, **options).hypothesis.mechanisms[-1] for s in range(30)]
    of_constants = [t.split()[0].isupper() for t in tags]
    assert (not any(of_constants)) if share else all(of_constants)


def trial(number, edit, decision, value=1.0):
  measured = (types.Measurement(0, {'val_bpb': value}, types.Cost()),)
  return types.Trial(
    number,
    types.Proposal(types.Operation.IMPROVE),
    edit,
    types.Result(number, types.Status.OK, measurements=measured),
    types.Verdict(decision, ''),
  )


def share_of(key, decision):
  """How often a move is drawn after three trials of it that ended the same way."""
  program = start('mlp')
  edit = types.Edit(program, 'an edit', types.Hypothesis('A claim.', ('a tag', key)))
  history = {n: trial(n, edit, decision) for n in range(3)}
  proposal = types.Proposal(types.Operation.IMPROVE, (0,), context=(0, 1, 2))
  drawn = [
    propose(program, s, proposal=proposal, history=history, coupled_share=0.0, structural_share=0.0)
    for s in range(40)
  ]
  return sum(e.hypothesis.mechanisms[-1] == key for e in drawn) / len(drawn)


def test_it_learns_from_the_trials_it_is_shown():
  kept, discarded = (share_of('WIDTH up', d) for d in (types.Decision.KEEP, types.Decision.DISCARD))
  assert kept > 3 * discarded


def test_what_the_strategy_does_not_show_changes_nothing():
  program = start('mlp')
  edit = types.Edit(program, 'an edit', types.Hypothesis('A claim.', ('a tag', 'WIDTH up')))
  history = {0: trial(0, edit, types.Decision.KEEP)}
  with_history = [propose(program, s, history=history).program for s in range(10)]
  assert with_history == [propose(program, s).program for s in range(10)]


def test_the_predicted_effect_is_in_the_unit_of_the_metric():
  program = start('mlp')
  edit = types.Edit(program, 'baseline', types.Hypothesis('A claim.'))
  for value in (1.0, 2.0):
    history = {0: trial(0, edit, types.Decision.KEEP, value)}
    hypothesis = propose(program, 0, history=history).hypothesis
    if value == 1.0:
      first = hypothesis
  assert hypothesis.uncertainty == pytest.approx(2 * first.uncertainty)
  assert propose(program, 0).hypothesis.predicted_effect is None


def test_a_file_that_does_not_parse_is_left_alone():
  program = types.Program((('model.py', 'BATCH_SIZE = (\n'),), 'model.py')
  with pytest.raises(NothingToPropose, match='None of'):
    propose(program, 0)


def test_when_all_was_tried_it_says_so():
  program = types.Program((('model.py', 'BATCH_SIZE = 1\n'),), 'model.py')
  tried = [program.with_text(f'BATCH_SIZE = {size}\n').digest for size in (1, 2, 4)]
  with pytest.raises(NothingToPropose, match='not tried before'):
    propose(program, 0, tried)


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'structural_share': 0.8, 'coupled_share': 0.4}, r'must lie in \[0, 1\]'),
    ({'min_factor': 0.9}, '1 < min_factor'),
    ({'min_factor': 4.0}, '1 < min_factor'),
  ],
)
def test_options_that_cannot_work_are_refused(options, message):
  with pytest.raises(ValueError, match=message):
    Mutate(**options)


_CLAIM = types.Hypothesis('A claim.')


def programs(*texts):
  return [types.Program((('model.py', text),), 'model.py') for text in texts]


def asked_for(parents, operation=types.Operation.IMPROVE, guidance='', start=None, seeds=12):
  """Edits of the first parent for one proposal, with as many generators; trial 0 is the start."""
  known = [*parents, *([start] if start else [])]
  history = {0: trial(0, types.Edit(start, '', _CLAIM), types.Decision.KEEP)} if start else {}
  tried = frozenset(program.digest for program in known)
  context = ProposalContext(tuple(parents), history, ('model.py',), OBJECTIVE, MLP_SPEC, tried)
  proposal = types.Proposal(operation, tuple(range(1, 1 + len(parents))), guidance=guidance)
  return [Mutate().propose(proposal, context, np.random.default_rng(s)) for s in range(seeds)]


TWO = 'RATE = 0.5\nSIZE = 4\nprint(RATE, SIZE)\n'


def test_a_merge_crosses_constants_and_is_new():
  other = TWO.replace('0.5', '0.1').replace('4', '8')
  edits = asked_for(programs(TWO, other), types.Operation.MERGE)
  assert {e.program.text() for e in edits} == {TWO.replace('0.5', '0.1'), TWO.replace('4', '8')}


@pytest.mark.parametrize('other', [TWO, TWO.replace('0.5', '0.1'), 'RATE = (\n'])
def test_a_merge_that_has_nothing_to_take_is_an_ordinary_edit(other):
  """The same constants; one, which would give the second parent; a file that does not parse."""
  for edit in asked_for(programs(TWO, other), types.Operation.MERGE, seeds=5):
    assert 'merge' not in edit.description
    assert edit.program.text() not in (TWO, other)


def test_a_repair_goes_halfway_back_where_all_the_way_was_tried():
  failing, good = programs(TWO.replace('0.5', '0.1'), TWO)
  for edit in asked_for([failing], types.Operation.DEBUG, start=good, seeds=3):
    assert edit.program.text() == TWO.replace('0.5', '0.3')
    assert edit.description == 'debug, towards trial 0: RATE 0.1 -> 0.3'


def test_tuning_moves_constants_and_creative_edits_change_structure():
  for guidance, wanted in (('tuning', {'constant', 'coupled'}), ('creative', {'structure'})):
    source = Source(start('mlp').text())
    moves = (*constant_edits(source, FactorRange()), *available(source, catalogue.packaged()))
    kinds = {move.key: move.kind for move in moves}
    edits = asked_for([start('mlp')], guidance=guidance)
    assert {kinds[edit.hypothesis.mechanisms[-1]] for edit in edits} <= wanted


def test_a_program_without_structure_known_here_gets_an_ordinary_edit():
  assert asked_for(programs(TWO), guidance='creative')


def test_a_rewrite_makes_two_or_three_edits_at_once():
  counts = set()
  for edit in asked_for([start('mlp')], guidance='rewrite'):
    keys = edit.hypothesis.mechanisms[-1].split('; ')
    assert len(keys) == len(set(keys)) == len(edit.description.split('; '))
    assert edit.hypothesis.claim.count('.') >= len(keys)
    ast.parse(edit.program.text())
    counts.add(len(keys))
  assert counts == {2, 3}


def test_a_rewrite_never_ends_where_it_began():
  """Up and down are the only edits of this program."""
  (one,) = programs('SIZE = 4\nprint(SIZE)\n')
  assert one not in [edit.program for edit in asked_for([one], guidance='rewrite')]


def test_an_ablation_goes_back_to_the_start_or_is_an_ordinary_edit():
  first, now = programs(TWO, TWO.replace('0.5', '0.1').replace('4', '8'))
  edits = asked_for([now], guidance='ablation', start=first)
  assert {e.program.text() for e in edits} == {TWO.replace('4', '8'), TWO.replace('0.5', '0.1')}
  ordinary = asked_for([first], guidance='ablation', start=first)
  assert all('ablation' not in edit.description for edit in ordinary)


def test_a_gpt_gets_every_kind_of_edit():
  first = start('gpt')
  changed, other = (
    first.with_text(first.text().replace(*values))
    for values in (('LOGIT_CAP = 15.0', 'LOGIT_CAP = 30.0'), ('DEPTH = 4', 'DEPTH = 6'))
  )
  repairs = [(types.Operation.MERGE, ''), (types.Operation.DEBUG, '')]
  for operation, word in [*repairs, *((types.Operation.IMPROVE, w) for w in types.GUIDANCE)]:
    (edit,) = asked_for([changed, other], operation, word, first, seeds=1)
    ast.parse(edit.program.text())
    assert edit.program not in (first, changed, other)


def learnt_share(trials, kept=(), undecided=(), key='WIDTH up'):
  """How often the move is drawn, after trials that are shown."""
  proposal = types.Proposal(types.Operation.IMPROVE, (0,), context=tuple(t.id for t in trials))
  history = {t.id: t for t in trials}
  options = {'coupled_share': 0.0, 'structural_share': 0.0 if key == 'WIDTH up' else 1.0}
  program, drawn = start('mlp'), 0
  context = ProposalContext(
    (program,), history, ('model.py',), OBJECTIVE, MLP_SPEC, frozenset(), set(kept), set(undecided)
  )
  for seed in range(120):
    edit = Mutate(**options).propose(proposal, context, np.random.default_rng(seed))
    drawn += edit.hypothesis.mechanisms[-1] == key
  return drawn


def widened(number, decision, fidelity=1.0, key='WIDTH up'):
  edit = types.Edit(start('mlp'), 'wider', types.Hypothesis('A claim.', (key,)))
  made = trial(number, edit, decision)
  return dataclasses.replace(
    made, proposal=types.Proposal(types.Operation.IMPROVE, fidelity=fidelity)
  )


def repeat(number, of, decision, operation=types.Operation.REPLICATE, fidelity=1.0):
  again = trial(number, types.Edit(start('mlp'), 'again', types.Hypothesis('Again.')), decision)
  return dataclasses.replace(again, proposal=types.Proposal(operation, (of,), fidelity=fidelity))


KEEP, DISCARD = types.Decision.KEEP, types.Decision.DISCARD
PROMOTE = types.Operation.PROMOTE


@pytest.mark.parametrize(
  ('trials', 'kept', 'same_as'),
  [
    # replicated before it was kept, by a rule that tests in turn
    ([widened(1, DISCARD), repeat(2, 1, DISCARD), repeat(3, 1, KEEP)], [1], [widened(1, KEEP)]),
    # a part of the budget first; the promotion is what was kept, or was not
    ([widened(1, DISCARD, 0.1), repeat(2, 1, KEEP, PROMOTE)], [1], [widened(1, KEEP)]),
    ([widened(1, DISCARD, 0.1), repeat(2, 1, DISCARD, PROMOTE)], [], [widened(1, DISCARD)]),
    # a part of the budget alone says neither
    ([widened(1, DISCARD, 0.1), repeat(2, 1, DISCARD, PROMOTE, 0.3)], [], []),
    # the replications of one edit are one outcome
    ([widened(1, DISCARD), *(repeat(n, 1, DISCARD) for n in (2, 3))], [], [widened(1, DISCARD)]),
  ],
)  # fmt: skip
def test_what_became_of_an_edit_is_learnt_from_the_trial_that_settled_it(trials, kept, same_as):
  same_kept = [t.id for t in same_as if t.verdict.decision is KEEP]
  assert learnt_share(trials, kept) == learnt_share(same_as, same_kept)


def test_kept_tried_and_discarded_edits_differ():
  kept, unknown, discarded = (
    learnt_share([widened(1, DISCARD)], kept, undecided)
    for kept, undecided in ([{1}, ()], [(), {1}], [(), ()])
  )
  assert kept > unknown > discarded
  assert unknown == learnt_share([])


def test_a_change_of_structure_that_was_kept_is_drawn_more_often():
  key = 'activation squared ReLU'
  kept = widened(1, KEEP, key=key)
  assert learnt_share([kept], [1], key=key) > 1.2 * learnt_share([], key=key) > 0


def drawn_keys(questions=(), question='', question_weight=3.0, count=12):
  program, options = start('mlp'), {'coupled_share': 0.0, 'structural_share': 0.0}
  context = ProposalContext(
    (program,), {}, ('model.py',), OBJECTIVE, MLP_SPEC, questions=tuple(questions)
  )
  proposal = types.Proposal(types.Operation.IMPROVE, (0,), question=question)
  proposer = Mutate(question_weight=question_weight, **options)
  edits = [proposer.propose(proposal, context, np.random.default_rng(s)) for s in range(count)]
  return [edit.hypothesis.mechanisms[-1] for edit in edits]


@pytest.mark.parametrize(
  'asked',
  [
    {'questions': [Question('What does it do?', ('width', 'WIDTH up'))]},
    {'question': "Edits of 'WIDTH up' promise most."},
  ],
)
def test_it_heeds_questions_about_its_moves(asked):
  before = drawn_keys()
  assert drawn_keys(**asked, question_weight=1e6) == 12 * ['WIDTH up'] != before
  assert drawn_keys(**asked, question_weight=1.0) == before


def test_questions_about_something_else_change_nothing():
  other = [Question('What of attention?', ('attention', 'WIDTH'))]
  assert drawn_keys(other, 'WIDTH up') == drawn_keys()


def test_what_is_heeded_is_a_factor():
  with pytest.raises(ValueError, match=r'question_weight is 0\.5'):
    Mutate(question_weight=0.5)


def shrinking(tokens, name='gpt', spec=GPT_SPEC):
  """How many of 60 edits make the model smaller, if the baseline saw so many tokens."""
  run = types.Measurement(0, {'val_bpb': 2.0}, types.Cost(tokens=tokens, parameters=1_000_000))
  edit = types.Edit(start(name), 'baseline', types.Hypothesis('A claim.'))
  baseline = trial(0, edit, KEEP)
  baseline = dataclasses.replace(
    baseline, result=dataclasses.replace(baseline.result, measurements=(run,))
  )
  context = ProposalContext((start(name),), {0: baseline}, ('model.py',), OBJECTIVE, spec)
  proposal = types.Proposal(types.Operation.IMPROVE, (0,))
  made = [Mutate().propose(proposal, context, np.random.default_rng(seed)) for seed in range(60)]
  tags = [edit.hypothesis.mechanisms for edit in made]
  return sum('down' in t[-1].split() and bool({'depth', 'width'} & set(t)) for t in tags)


def test_a_language_model_that_is_too_large_for_its_budget_gets_smaller_more_often():
  best, few, many = shrinking(20_000_000), shrinking(300_000), shrinking(2_000_000_000)
  assert few > 2 * best > 2 * many
  assert shrinking(300_000, 'mlp', MLP_SPEC) == shrinking(0, 'mlp', MLP_SPEC)
