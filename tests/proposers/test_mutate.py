"""Random edits of all programs: they parse, keep what they do not touch, learn, and trace."""

import ast
import difflib
import itertools
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoresearch_jax import types
from autoresearch_jax.problems.start import PROGRAMS, with_constants
from autoresearch_jax.proposers import Context, NothingToPropose
from autoresearch_jax.proposers.mutate import Mutate

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
TRACING = pathlib.Path(__file__).parent / 'tracing.py'


def start(name):
  program = types.Program.read(PROGRAMS / name, ('model.py',), 'model.py')
  small = {'DEPTH': 4, 'ASPECT_RATIO': 32, 'HEAD_DIM': 32, 'BATCH_SIZE': 16}
  return with_constants(program, small) if name == 'gpt' else program


def propose(program, seed, tried=(), proposal=None, history=None, **options):
  context = Context((program,), history or {}, ('model.py',), OBJECTIVE, MLP_SPEC, frozenset(tried))
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


@pytest.mark.slow
@pytest.mark.parametrize('name', ['mlp', 'gpt'])
@settings(max_examples=8, deadline=None)
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


@pytest.mark.slow
@pytest.mark.parametrize('name', sorted(SPECS))
def test_nine_of_ten_random_edits_trace(name):
  program = start(name)
  edits = [propose(program, (1, seed)) for seed in range(60)]
  broken = '\n\ndef predict(state, inputs):\n  return inputs[0]\n'
  *errors, known = trace([*(e.program.text() for e in edits), program.text() + broken], SPECS[name])
  failed = {e.description: error for e, error in zip(edits, errors, strict=True) if error}
  assert known, 'a program that breaks the contract was not noticed'
  assert len(failed) <= 6, failed


@pytest.mark.slow
@pytest.mark.parametrize('name', sorted(SPECS))
def test_lineages_of_edits_trace(name):
  texts = [chain(name, seed, 12)[-1].text() for seed in range(6)]
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
    ({'structural_share': 0.8, 'coupled_share': 0.4}, 'must fit in'),
    ({'smallest_factor': 0.9}, '1 < smallest_factor'),
    ({'smallest_factor': 4.0}, '1 < smallest_factor'),
  ],
)
def test_options_that_cannot_work_are_refused(options, message):
  with pytest.raises(ValueError, match=message):
    Mutate(**options)
