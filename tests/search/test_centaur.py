"""The proposer gets its share of turns, reads what CMA-ES knows, and CMA-ES learns from it."""

import re

import numpy as np
import pytest

from autoresearch_jax import types
from autoresearch_jax.search.samplers.centaur import Centaur
from autoresearch_jax.search.samplers.cma_es import CmaEs
from autoresearch_jax.search.samplers.space import Range
from autoresearch_jax.search.samplers.study import Add, Ask

TEXT = (
  'A = 0.5  # in [-4, 4]\nB = 0.01  # in [0.0001, 1], log\nC = 3  # in [0, 9]\nKIND = "plain"\n'
)
START = types.Program((('model.py', TEXT),), 'model.py')
OBJECTIVE = types.Objective('loss', 'minimize')
OK, OOM = types.Status.OK, types.Status.OOM
GENERATION = 4


def centaur(**options):
  return Centaur(**{'popsize': GENERATION, **options})


def program(a=0.5, b=0.01, c=3, more=''):
  text = TEXT.replace('A = 0.5', f'A = {a}').replace('B = 0.01', f'B = {b}')
  return START.with_text(text.replace('C = 3', f'C = {c}') + more)


def trial(number, proposal, edited, value, status=OK):
  measured = (types.Measurement(0, {'loss': value}, types.Cost()),) if status is OK else ()
  edit = types.Edit(edited, 'an edit', types.Hypothesis(''))
  return types.Trial(number, proposal, edit, types.Result(number, status, measurements=measured))


def begun(strategy, value=5.0):
  first = trial(0, types.Proposal(types.Operation.DRAFT), START, value)
  return strategy.tell(strategy.init(OBJECTIVE), first)


def brought(proposal):
  """The program that a proposal carries."""
  assert proposal.edit is not None
  return proposal.edit.program


def values_of(edited):
  values: dict = {}
  exec(edited.text(), values)
  return values['A'], values['B'], values['C']


def loss(a, b, c):
  return (a - 2) ** 2 + (np.log10(b) + 3) ** 2 + (c - 7) ** 2 / 9


def played(strategy, trials, answer):
  """The state after so many trials. answer: (state, number) -> what the proposer makes of it."""
  state, turns = begun(strategy), 0
  for number in range(1, trials):
    proposal, state = strategy.ask(state, np.random.default_rng(number))
    turns += proposal.edit is None
    edited = proposal.edit.program if proposal.edit else answer(number)
    state = strategy.tell(state, trial(number, proposal, edited, loss(*values_of(edited))))
  return state, turns


def question(state, strategy=None, seed=0):
  strategy = strategy or centaur(llm_ratio=1.0)
  proposal, after = strategy.ask(state, np.random.default_rng(seed))
  assert after == state, 'a turn of the proposer leaves nothing in the study before it is told'
  return proposal


def shown(proposal, name):
  """(mean, deviation) of a constant in a question."""
  line = rf'- {name}: mean (\S+), deviation (?:a factor of )?([^;]+);'
  found = re.search(line, proposal.question)
  assert found is not None
  return float(found[1]), float(found[2])


def test_the_generator_gives_the_proposer_its_share():
  strategy = centaur()
  state, turns = begun(strategy), []
  for seed in range(50):
    proposal, state = strategy.ask(state, np.random.default_rng(seed))
    turns.append(proposal.edit is None)
  assert 0.2 < np.mean(turns) < 0.4
  for share, whose in ((0.0, False), (1.0, True)):
    asked = centaur(llm_ratio=share).ask(state, np.random.default_rng(1))[0]
    assert (asked.edit is None) is whose


def test_its_own_draws_are_those_of_cma_es():
  """With the same seeds: a draw of the generator for the turn, the next one for the sampler."""
  mine, plain = centaur(llm_ratio=0.0), CmaEs(popsize=GENERATION)
  state, other = begun(mine), begun(plain)
  for number in range(1, 14):
    proposal, state = mine.ask(state, np.random.default_rng(number))
    rng = np.random.default_rng(number)
    rng.random()
    theirs, other = plain.ask(other, rng)
    assert brought(proposal) == brought(theirs)
    value = loss(*values_of(brought(proposal)))
    state = mine.tell(state, trial(number, proposal, brought(proposal), value))
    other = plain.tell(other, trial(number, theirs, brought(theirs), value))


def test_a_turn_of_the_proposer_asks_it_to_tune_the_best_program():
  strategy = centaur()
  state = begun(strategy)
  ask = question(state)
  for number, value in ((1, 2.0), (2, 7.0), (3, 1.0), (4, 3.0)):
    state = strategy.tell(state, trial(number, ask, program(a=number / 4), value))
  proposal = question(state, centaur(llm_ratio=1.0, num_best_points=3))
  assert proposal.operation is types.Operation.IMPROVE
  assert proposal.guidance == 'tuning' and proposal.edit is None
  assert proposal.parents == (3,)
  assert proposal.context == (1, 3, 4)
  lines = proposal.question.splitlines()
  at = lines.index('The best so far by loss, to minimize:')
  assert lines[at + 1 :] == [
    '- 1 (trial 3): A = 0.75, B = 0.01, C = 3',
    '- 2 (trial 1): A = 0.25, B = 0.01, C = 3',
    '- 3 (trial 4): A = 1, B = 0.01, C = 3',
  ]


def test_the_question_has_the_ranges_and_what_cma_es_begins_with():
  """Optuna's: the middle of the space, and a sixth of the range."""
  proposal = question(begun(centaur()))
  assert 'in -4 to 4\n' in proposal.question
  assert 'in 0.0001 to 1, log\n' in proposal.question
  assert 'in 0 to 9, whole\n' in proposal.question
  assert 'KIND' not in proposal.question
  mean, deviation = shown(proposal, 'A')
  assert abs(mean) < 0.7 and 0.9 < deviation < 1.8  # 8 / 6
  mean, factor = shown(proposal, 'B')
  assert 0.004 < mean < 0.025 and 2.8 < factor < 7.4  # 10 ** (4 / 6)


def test_mean_and_deviation_are_those_of_the_draws_to_come():
  """After CMA-ES has found the optimum they lie there, narrow, and the next draws among them."""
  state, _ = played(centaur(llm_ratio=0.0), 140, None)
  proposal = question(state)
  mean, deviation = shown(proposal, 'A')
  assert abs(mean - 2) < 0.3 and deviation < 0.3
  mean_b, factor = shown(proposal, 'B')
  assert 5e-4 < mean_b < 2e-3 and factor < 2
  drawn = []
  for number in range(20):
    asked, state = centaur(llm_ratio=0.0).ask(state, np.random.default_rng(number))
    drawn.append(values_of(brought(asked))[0])
  assert abs(np.mean(drawn) - mean) < 3 * deviation
  assert np.std(drawn) < 3 * deviation


def test_choices_are_shown_with_their_shares():
  strategy = centaur(llm_ratio=1.0, space={'A': Range(), 'KIND': Range(choices=('plain', 'other'))})
  text = question(begun(strategy), strategy).question
  assert re.search(r"- KIND: 'other' \d+%, 'plain' \d+%; in one of 'plain', 'other'", text)


def test_what_did_not_fit_is_shown_and_is_no_best_point():
  strategy = centaur()
  state = begun(strategy)
  state = strategy.tell(state, trial(1, question(state), program(c=9), 0.0, OOM))
  proposal = question(state)
  assert proposal.question.endswith(
    "Did not fit in the device's memory:\n- A = 0.5, B = 0.01, C = 9"
  )
  assert proposal.context == (0,)


def test_what_the_proposer_makes_takes_the_place_of_a_draw():
  strategy = centaur()
  state = begun(strategy)
  state = strategy.tell(state, trial(1, question(state), program(a=3.0), 2.0))
  assert state.log[-1] == Add(1, 1, -2.0, (3.0, 0.01, 3), replaces_draw=True)
  again = types.Proposal(types.Operation.REPLICATE, (1,))
  state = strategy.tell(state, trial(2, again, program(a=3.0), 2.2))
  assert state.log[-1] == Add(2, 2, -2.2, (3.0, 0.01, 3))


def after_generation(strategy):
  """The mean of A in the question, once the proposer had a generation to itself."""
  state = begun(strategy)
  for number in range(1, GENERATION + 1):
    edited = program(a=3 + number / 10, b=0.2, c=8)
    state = strategy.tell(state, trial(number, question(state), edited, number / 10))
  return shown(question(state), 'A')[0]


def test_cma_es_learns_from_the_proposer():
  """A generation of its points moves the mean to them; where they are only added, it stays."""
  assert after_generation(centaur()) > 1.5
  assert after_generation(centaur(with_margin=True)) < 0.7


def test_another_structure_is_not_told_to_the_study():
  strategy = centaur()
  state = begun(strategy)
  edited = program(a=1.0, more='x = 1\n')
  assert strategy.tell(state, trial(1, question(state), edited, 0.1)) == state


def test_it_finds_the_optimum_with_a_proposer_that_knows_nothing():
  rng = np.random.default_rng(0)

  def guess(number):
    del number
    a, b = float(rng.uniform(-4, 4)), float(10 ** rng.uniform(-4, 0))
    return program(a, b, int(rng.integers(10)))

  state, turns = played(centaur(), 100, guess)
  assert turns > 20
  last = [loss(*e.values) for e in state.log if isinstance(e, Ask)][-12:]
  assert np.median(last) < 0.5


@pytest.mark.parametrize(
  'options', [{'llm_ratio': 1.2}, {'llm_ratio': -0.1}, {'num_best_points': 0}]
)
def test_options_that_cannot_work_are_refused(options):
  with pytest.raises(ValueError, match=f'{next(iter(options))} of centaur is'):
    Centaur(**options)
