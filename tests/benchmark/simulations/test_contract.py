"""What every simulation must do. A new one adds a line to SIMULATION_CASES."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest
from helpers.registered import ours

from autoresearch_jax.benchmark.simulations import ENTRY, HELD_OUT, SIMULATIONS
from autoresearch_jax.proposers import NothingToPropose, ProposalContext
from autoresearch_jax.types import (
  GUIDANCE,
  Budget,
  Operation,
  Program,
  Proposal,
  Spec,
  Status,
  TrialRequest,
  from_json,
  to_json,
)

# (registered name, options to test it with)
SIMULATION_CASES = [
  ('nk', {'noise': 0.02}),
  ('nk', {'n': 20, 'k': 0}),
  ('nk', {'n': 20, 'k': 9, 'noise': 0.02}),
  ('trap', {'noise': 0.02}),
  ('leading_ones', {'noise': 0.02}),
  ('continuous', {'function': 'sphere', 'dimension': 2}),
  ('continuous', {'function': 'ellipsoid', 'dimension': 40, 'noise': 0.01}),
  ('continuous', {'function': 'rosenbrock', 'dimension': 10, 'noise': 0.01}),
  ('continuous', {'function': 'rastrigin', 'dimension': 10, 'noise': 0.01}),
  ('continuous', {'function': 'ackley', 'dimension': 10, 'noise': 0.01}),
  ('lineage', {}),
  ('lineage', {'profile': 'digits'}),
  ('lineage', {'profile': 'gpt_small_cpu', 'noise': 2.0}),
  ('recorded', {}),
  ('landscape', {}),
]
TESTED_ELSEWHERE = {'engine'}  # real trainings: tests/benchmark/test_engine.py
EDITS = (Operation.DRAFT, Operation.IMPROVE, Operation.DEBUG)  # of one parent
RECORDED = ('lineage', 'recorded', 'landscape')  # their noise is 1.0 by default
EXACT = {'nk', 'trap', 'leading_ones', 'continuous'}  # their optimum is proven

every_simulation = pytest.mark.parametrize(('name', 'options'), SIMULATION_CASES, ids=str)


def instance(name, options, seed=3):
  return SIMULATIONS.make(name, options).instance(seed)


def measured(made, program, seeds=(0,), budget=1.0, known=None):
  return made.measure(TrialRequest(1, program, seeds, Budget(budget), known or {}))


def proposed(made, parents, proposal, seed, tried=frozenset()):
  spec = Spec('supervised', 'cpu', 1, Budget(1.0))
  context = ProposalContext(parents, {}, (ENTRY,), made.objective, spec, tried)
  return made.propose(proposal, context, np.random.default_rng(seed))


def walk(made, steps=40, seed=0):
  """Programs of a random walk of edits, the start first."""
  programs = [made.start]
  for step in range(steps):
    proposal = Proposal(Operation.IMPROVE, (0,))
    programs.append(proposed(made, (programs[-1],), proposal, (seed, step)).program)
  return programs


@every_simulation
def test_the_start_runs_and_is_worse_than_the_optimum(name, options):
  for seed in (0, 1, HELD_OUT):
    made = instance(name, options, seed)
    value = made.value(made.start)
    sign = -1 if made.objective.direction == 'minimize' else 1
    assert value is not None
    assert sign * made.optimum > sign * value


@every_simulation
def test_the_solution_has_the_optimum_and_no_walk_beats_it(name, options):
  made = instance(name, options)
  assert made.value(made.solution) == pytest.approx(made.optimum, abs=1e-9)
  sign = -1 if made.objective.direction == 'minimize' else 1
  programs = [*walk(made), *walk_from(made, made.solution)]
  values = [value for p in programs if (value := made.value(p)) is not None]
  slack = 0 if name in EXACT else 1e-3 * abs(made.optimum - made.value(made.start))
  assert max(sign * value for value in values) <= sign * made.optimum + slack + 1e-12


def walk_from(made, program, count=100):
  proposal = Proposal(Operation.IMPROVE, (0,))
  return [proposed(made, (program,), proposal, (9, step)).program for step in range(count)]


@every_simulation
def test_instances_differ_by_seed_and_are_made_again_the_same(name, options):
  tuning, again, held_out = (instance(name, options, s) for s in (5, 5, HELD_OUT + 5))
  assert tuning.start == again.start and tuning.optimum == again.optimum
  assert tuning.start != held_out.start or tuning.optimum != held_out.optimum


@every_simulation
def test_the_mean_over_seeds_is_the_value(name, options):
  made = instance(name, options)
  result = measured(made, made.start, seeds=tuple(range(400)))
  values = np.array([m.metrics[made.objective.metric] for m in result.measurements])
  error = values.std() / 20
  assert abs(values.mean() - made.value(made.start)) <= 4 * error + 1e-12
  noise = dict(options).get('noise', 1.0 if name in RECORDED else 0.0)
  assert (np.ptp(values) > 0) == (noise > 0)


@every_simulation
def test_the_same_trial_has_the_same_result(name, options):
  made, again = instance(name, options), instance(name, options)
  first = measured(made, made.start, seeds=(0, 1))
  assert first == measured(again, again.start, seeds=(0, 1))
  assert first.measurements[1] == measured(again, again.start, seeds=(1,)).measurements[0]
  assert from_json(to_json(first), type(first)) == first


@every_simulation
def test_parts_add_up_to_the_metric(name, options):
  made = instance(name, options)
  for program in walk(made, 10):
    for measurement in measured(made, program).measurements:
      parts = [v for key, v in measurement.metrics.items() if key.startswith('part_')]
      assert len(parts) in (0, 4)
      if parts:
        assert sum(parts) == pytest.approx(measurement.metrics[made.objective.metric])


@every_simulation
def test_a_low_fidelity_is_cheap_worse_and_noisier(name, options):
  made = instance(name, options)
  metric, sign = made.objective.metric, -1 if made.objective.direction == 'minimize' else 1
  whole, part = (
    measured(made, made.start, tuple(range(200)), budget).measurements for budget in (1.0, 0.25)
  )
  score = [sign * np.array([m.metrics[metric] for m in runs]) for runs in (whole, part)]
  assert part[0].cost.training_seconds == pytest.approx(whole[0].cost.training_seconds / 4)
  assert score[1].mean() < score[0].mean()
  if np.ptp(score[0]) > 0 and name != 'landscape':  # whose noise is what was recorded
    assert 1.5 < score[1].std() / score[0].std() < 2.6


@every_simulation
def test_failures_have_a_sentence_and_cost_their_time(name, options):
  made = instance(name, options)
  broken = made.start.with_text('A = =\n')
  results = [measured(made, p) for p in (broken, *walk(made, 200))]
  assert results[0].status is Status.INVALID
  for result in results:
    assert result.facts['seconds'] >= 0
    assert (result.status is Status.OK) == bool(result.measurements)
    if result.status is not Status.OK:
      assert result.reason.endswith('.') and len(result.reason) > 20
  assert made.value(broken) is None


@every_simulation
def test_a_known_fingerprint_is_a_duplicate(name, options):
  made = instance(name, options)
  first = measured(made, made.start)
  again = measured(made, made.start, known={first.fingerprint: 7})
  assert again.status is Status.DUPLICATE and again.duplicate_of == 7 and again.reason


@every_simulation
@pytest.mark.parametrize('guidance', ['', *GUIDANCE])
@pytest.mark.parametrize('operation', EDITS)
def test_edits_are_new_programs_of_the_editable_file(name, options, operation, guidance):
  made = instance(name, options)
  for program in walk(made, 4):
    proposal = Proposal(operation, (0,), guidance=guidance)
    edit = proposed(made, (program,), proposal, 1)
    assert edit.program != program and edit.program.entry == ENTRY
    assert [file for file, _ in edit.program.files] == [ENTRY]
    assert edit == proposed(made, (program,), proposal, 1)
    assert edit.description and edit.hypothesis.claim and edit.hypothesis.mechanisms
    assert from_json(to_json(edit), type(edit)) == edit
    readable(made, edit.program)


def readable(made, program):
  """Programs that a proposer writes have the form that the problem reads."""
  result = measured(made, program)
  assert f'{ENTRY}:' not in result.reason and 'must be' not in result.reason


@every_simulation
def test_a_merge_takes_from_both_parents_alone(name, options):
  made = instance(name, options)
  one, other = walk(made, 12)[-1], walk(made, 12, seed=1)[-1]
  for seed in range(5):
    merged = proposed(made, (one, other), Proposal(Operation.MERGE, (0, 1)), seed).program
    lines = {line for p in (one, other) for line in p.text().splitlines()}
    assert set(merged.text().splitlines()) <= lines


@every_simulation
def test_what_was_tried_is_not_proposed_again(name, options):
  made = instance(name, options)
  tried = {made.start.digest}
  for step in range(60):
    try:
      edit = proposed(made, (made.start,), Proposal(Operation.IMPROVE), step, frozenset(tried))
    except NothingToPropose as none:
      assert str(none).endswith('.')
    else:
      assert edit.program.digest not in tried
      tried.add(edit.program.digest)
  assert len(tried) > 40


@every_simulation
@pytest.mark.parametrize('guidance', ['', *GUIDANCE])
@pytest.mark.parametrize('operation', [*EDITS, Operation.MERGE])
def test_a_wish_that_is_used_up_gets_another_edit(name, options, operation, guidance):
  """Whatever is asked for, a run does not end before programs do."""
  made = instance(name, options)
  parents = tuple(walk(made, 3)[-2:]) if operation is Operation.MERGE else (walk(made, 1)[-1],)
  proposal = Proposal(operation, tuple(range(len(parents))), guidance=guidance)
  tried = {parent.digest for parent in parents}
  for step in range(60):
    edit = proposed(made, parents, proposal, step, frozenset(tried))
    assert edit.program.digest not in tried
    tried.add(edit.program.digest)


@every_simulation
def test_the_space_holds_the_start_and_the_solution(name, options):
  made = instance(name, options)
  for program in (made.start, made.solution):
    values = dict(line.split(' = ') for line in program.text().splitlines() if ' = ' in line)
    assert set(made.space) == set(values)
    for constant, ends in made.space.items():
      if 'choices' in ends:
        assert int(values[constant]) in ends['choices']
        continue
      assert ends['low'] <= float(values[constant]) <= ends['high']
      assert isinstance(ends['low'], int) == ('.' not in values[constant] + values[constant])


def digest(name, options):
  """Programs and results after a fixed walk, as one word."""
  made = instance(name, options)
  programs = walk(made, 8)
  results = [measured(made, p, (0, 1), 0.5) for p in programs]
  return Program(((ENTRY, to_json([programs, results]).decode()),), ENTRY).digest


def test_another_process_does_the_same():
  cases = [case for case in SIMULATION_CASES if case[0] != 'recorded']  # that one imports sklearn
  code = (
    'import sys; sys.path.insert(0, sys.argv[1]); import test_contract as contract\n'
    'for case in contract.SIMULATION_CASES:\n'
    '  if case[0] != "recorded": print(contract.digest(*case))\n'
    'assert not {"jax", "sklearn", "scipy", "pandas"} & set(sys.modules), "slow to import"'
  )
  here = pathlib.Path(__file__).parent
  other = subprocess.run(
    [sys.executable, '-c', code, here], capture_output=True, text=True, check=True
  )
  assert other.stdout.split() == [digest(*case) for case in cases]


def test_every_registered_simulation_is_in_the_battery():
  assert {name for name, _ in SIMULATION_CASES} == ours(SIMULATIONS) - TESTED_ELSEWHERE
