"""Proposers that ask language models, through the real SDKs, against a scripted server."""

import collections
import contextlib
import dataclasses
import threading
import time

import ml_collections
import numpy as np
import pytest
from helpers.model_faults import FAULTS, PROGRAM, TEXT, WIDER

from autoresearch_jax import types
from autoresearch_jax.knowledge import Memory
from autoresearch_jax.proposers import PROPOSERS, NothingToPropose, ProposalContext
from autoresearch_jax.testing import loopback_model as loopback
from autoresearch_jax.testing.loopback_model import KEY, answer, edit

SPEC = types.Spec('supervised', 'cpu', 1, types.Budget(1, 'steps'), input_shape=(1,), num_classes=2)
OBJECTIVE = types.Objective('loss', 'minimize')
IMPROVE = types.Proposal(types.Operation.IMPROVE, parents=(0,))

pytestmark = pytest.mark.usefixtures('secret')


def made_for(api, server, **options):
  return api.proposer(
    **{'base_url': api.url(server), 'initial_delay': 0.0, 'attempts': 1, **options}
  )


def trial(number, author='', loss=1.0):
  made = types.Edit(PROGRAM, 'an edit', types.Hypothesis('A claim.'), author)
  measured = (types.Measurement(0, {'loss': loss}, types.Cost()),)
  result = types.Result(number, types.Status.OK, measurements=measured)
  return types.Trial(number, IMPROVE, made, result, types.Verdict(types.Decision.DISCARD, ''))


def context(book, **changes):
  made = ProposalContext(
    (PROGRAM,), {}, ('model.py',), OBJECTIVE, SPEC, record=book.record, spend=book.spend
  )
  return dataclasses.replace(made, **changes)


def propose(api, server, book, seed=0, proposal=IMPROVE, options=None, **changes):
  made = made_for(api, server, **(options or {}))
  return made.propose(proposal, context(book, **changes), np.random.default_rng(seed))


def is_by_mutate(made, why):
  assert made.author == made.role == ''
  assert f'Proposed by the fallback mutate: {why}' in made.hypothesis.claim
  assert f' (by mutate: {why[:40].rstrip(".")}' in made.description
  return True


def test_an_answer_becomes_an_edit_with_its_hypothesis(api, server, book):
  server.script = [answer(WIDER)]
  made = propose(api, server, book)
  assert made.program == PROGRAM.with_text(TEXT.replace('64', '96'))
  assert made.description == 'WIDTH = 64 becomes WIDTH = 96'
  assert made.hypothesis == types.Hypothesis('It helps.', ('width',), 0.01, 0.02)
  assert (made.author, made.role) == (api.model, '')
  (request,) = server.requests
  assert TEXT.strip() in loopback.turn_texts(request)[0]
  assert 'edits' in loopback.settings(request)['schema']['properties']
  assert [e.state for e in book.exchanges] == ['sent', 'answered']


def refusing(program):
  return 'It nearly repeats trial 7.' if 'WIDTH = 97' in program.text() else ''


def checking(program):
  return 'model.py, line 1: WIDTH is too wide.' if 'WIDTH = 98' in program.text() else ''


UNUSABLE = {
  'no JSON': ('I think you should widen it.', 'JSON'),
  'half JSON': (WIDER[:60], 'JSON'),
  'found nowhere': (edit('DEPTH = 2', 'DEPTH = 3'), 'DEPTH = 2'),
  'outside the surface': (edit('KEPT = 1', 'KEPT = 2', 'notes.py'), 'notes.py'),
  'no change': (edit('WIDTH = 64', 'WIDTH = 64'), 'itself'),
  'tried before': (edit('RATE = 0.1', 'RATE = 0.2'), 'proposed before'),
  'refused by the memory': (edit('WIDTH = 64', 'WIDTH = 97'), 'nearly repeats trial 7'),
  'refused by the tracer': (edit('WIDTH = 64', 'WIDTH = 98'), 'WIDTH is too wide'),
}


@pytest.mark.parametrize(('text', 'sentence'), UNUSABLE.values(), ids=UNUSABLE)
def test_what_cannot_be_used_goes_back_with_the_reason(api, server, book, text, sentence):
  server.script = [answer(text), answer(WIDER)]
  tried = {PROGRAM.with_text(TEXT.replace('0.1', '0.2')).digest}
  made = propose(api, server, book, tried=tried, check_duplicate=refusing, check=checking)
  assert 'WIDTH = 96' in made.program.text()
  first, model, back = loopback.turn_texts(server.requests[1])
  assert first == loopback.turn_texts(server.requests[0])[0] and model == text
  assert sentence in back


def test_a_cut_or_empty_answer_goes_back_too(api, server, book):
  server.script = [answer(WIDER[:50], 'MAX_TOKENS'), answer(None, 'MAX_TOKENS'), answer(WIDER)]
  made = propose(api, server, book)
  assert made.author == api.model
  assert len(loopback.turn_texts(server.requests[1])) == 3
  last = loopback.turn_texts(server.requests[2])
  assert len(last) == 3 and last[2].count('cut off at its limit') == 2


def test_after_the_last_repair_another_proposer_takes_the_turn(api, server, book):
  server.script = [answer('{}')] * 3
  made = propose(api, server, book)
  assert is_by_mutate(made, f'{api.model} gave no usable answer: ')
  assert made.hypothesis.claim.endswith('.')
  assert len(book.last) == 3


def test_the_fallback_is_refused_near_repeats_too(api, server, book):
  server.script = [loopback.blocked()] * 2
  seen = []

  def refuse_twice(program):
    seen.append(program)
    return '' if len(seen) > 2 else 'It nearly repeats trial 3.'

  assert is_by_mutate(propose(api, server, book, check_duplicate=refuse_twice), '')
  with pytest.raises(NothingToPropose, match='It nearly repeats trial 4'):
    propose(api, server, book, check_duplicate=lambda program: 'It nearly repeats trial 4.')


def test_the_run_is_told_who_is_asked_and_how_often_at_most(api, server):
  where = f' at {api.url(server)}' if api.name == 'openai' else ''
  title = f'{api.name} (a, b{where}), at most 1,000 calls, 20,000,000 tokens, $5.00, then mutate'
  prices = (('a', 1.0, 2.0), ('b', 1.0, 2.0))
  assert made_for(api, server, models=('a', 'b'), prices=prices).title == title
  free = made_for(api, server, max_calls=0, max_total_tokens=0, max_dollars=0.0, fallback='')
  assert free.title == f'{api.name} ({api.model}{where}), no spend limit'


def test_without_a_fallback_the_turn_comes_to_nothing(api, server, book):
  server.script = [loopback.blocked()]
  with pytest.raises(NothingToPropose, match=r'refused the prompt \(SAFETY\)'):
    propose(api, server, book, options={'fallback': ''})


def test_a_program_too_large_for_a_prompt_is_left_to_the_fallback(api, server, book):
  assert is_by_mutate(propose(api, server, book, options={'max_prompt_tokens': 50}), 'The program')
  assert not server.requests


def test_a_reached_cap_is_said_and_nothing_is_sent(api, server, book):
  server.rule = lambda request: answer(edit('WIDTH = 64', f'WIDTH = {70 + len(book.last)}'))
  options = {'max_calls': 3}
  for _ in range(3):
    assert propose(api, server, book, options=options).author == api.model
  assert is_by_mutate(
    propose(api, server, book, options=options), 'Budget exhausted: 3 of 3 calls made'
  )
  assert len(server.requests) == 3


def test_a_hundred_faults_cost_no_turn_and_no_more_than_the_cap(api, server, book):
  rng = np.random.default_rng(4)
  server.script = [FAULTS[rng.integers(len(FAULTS))] for _ in range(100)]
  server.rule = lambda request: answer(WIDER)
  caps = {'max_calls': 95, 'max_dollars': 6.0, 'max_total_tokens': 10**7}
  made = made_for(api, server, attempts=3, **caps, max_output_tokens=4000)
  authors = collections.Counter()
  for turn in range(400):
    got = made.propose(IMPROVE, context(book, trial_id=turn), rng)
    authors[got.author] += 1
    assert KEY not in repr(got)
    if 'Budget exhausted' in got.hypothesis.claim:
      break
  else:
    pytest.fail('no cap was ever reached')
  spent = book.spend()
  assert spent.calls <= 95 and spent.dollars <= 6.0 and spent.tokens <= 10**7
  assert len(server.requests) > 75
  assert len(book.last) == len(server.requests), 'a call is not on record'
  ends = collections.Counter(e.id for e in book.exchanges if e.state != 'sent')
  assert ends == {e.id: 1 for e in book.exchanges}, 'a call has no end on record'
  assert not [e for e in book.exchanges if KEY in repr(e)]
  assert authors[api.model] and authors['']


def test_turns_at_once_share_the_caps(api, server, book):
  """The one waits for the record of the other, so both see what is spent."""
  server.rule = lambda request: answer(WIDER)
  made, got = made_for(api, server, max_calls=2), []

  def spend():
    spent = book.spend()
    time.sleep(0.02)  # in which another turn could spend it too
    return spent

  def turn(seed):
    known = context(book, spend=spend)
    got.append(made.propose(IMPROVE, known, np.random.default_rng(seed)))

  threads = [threading.Thread(target=turn, args=(seed,)) for seed in range(6)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert len(server.requests) == book.spend().calls == 2
  assert sorted(edit.author for edit in got) == [''] * 4 + [api.model] * 2


def test_a_model_that_is_not_there_is_left_alone_and_another_asked(api, server, book):
  gone = loopback.api_error(404, 'NOT_FOUND', 'models/typo is not found.')
  server.rule = lambda request: gone if request['model'] == 'typo' else answer(WIDER)
  made = made_for(api, server, models=('typo', api.lite), prices=(('typo', 1.0, 1.0),))
  for seed in range(8):
    got = made.propose(IMPROVE, context(book), np.random.default_rng(seed))
    assert got.author == api.lite
  assert server.models.count('typo') == 1


def test_a_wrong_name_is_said_by_the_api(api, server, book):
  server.script = [loopback.api_error(404, 'NOT_FOUND', 'models/typo is not found.')]
  options = {'models': ('typo',), 'prices': (('typo', 1.0, 1.0),)}
  made = propose(api, server, book, options=options)
  assert is_by_mutate(made, 'The ') and 'refused the call of typo (404' in made.hypothesis.claim


def test_the_model_that_paid_is_asked_more_often(api, server, book):
  server.rule = lambda request: answer(WIDER)
  history = {0: trial(0)}
  models = (api.model, api.lite)
  history |= {n: trial(n, models[n % 2], 0.5 if n % 2 else 1.5) for n in range(1, 21)}
  made = made_for(api, server, models=models)
  for seed in range(12):
    made.propose(IMPROVE, context(book, history=history), np.random.default_rng(seed))
  assert server.models.count(api.lite) >= 10


def test_closing_from_another_thread_ends_a_turn_soon(api, server, book):
  server.script = [loopback.drip(server)]
  made = made_for(api, server, timeout_seconds=60.0)
  closing = server.after_first_request(made.close)
  started = time.monotonic()
  with pytest.raises(NothingToPropose, match='stopping'):
    made.propose(IMPROVE, context(book), np.random.default_rng(0))
  assert time.monotonic() - started < 50
  closing.join()
  assert [e.state for e in book.exchanges] == ['sent', 'failed']
  assert book.spend().dollars > 0


def test_a_slow_drip_ends_at_the_deadline(api, server, book):
  server.script = [loopback.drip(server)]
  made = propose(api, server, book, options={'timeout_seconds': 0.5, 'attempts': 4})
  assert is_by_mutate(made, f'{api.model} did not answer within 0.5 seconds')
  assert len(server.requests) == 1


# Roles.


@pytest.fixture
def team(api, tmp_path):
  """An architect that hands off to a critic and to a simplifier, and these two."""
  drafts = '---\nhand_offs: [critic, simplifier]\noperations: [improve]\n---\nYou draft.'
  reviews = f'---\nmodel: {api.lite}\ntemperature: 0.2\noperations: [review]\n---\nYou doubt.'
  simple = '---\nhand_offs: [critic]\noperations: [review]\n---\nYou shorten.'
  names = []
  for name, text in (('architect', drafts), ('critic', reviews), ('simplifier', simple)):
    path = tmp_path / f'{name}.md'
    path.write_text(text)
    names.append(str(path))
  return {'roles': tuple(names)}


def test_a_role_hands_its_draft_on_and_each_sees_it_once(api, server, book, team):
  server.script = [
    answer(WIDER), answer(edit('WIDTH = 64', 'WIDTH = 128')), answer(edit('WIDTH = 64', 'WIDTH=9'))
  ]  # fmt: skip
  made = propose(api, server, book, options=team)
  assert [e.role for e in book.last] == ['architect', 'critic', 'simplifier']
  assert [e.purpose for e in book.last] == ['propose', 'review', 'review']
  assert server.models == [api.model, api.lite, api.model]
  assert loopback.settings(server.requests[1])['temperature'] == 0.2
  assert 'WIDTH = 96' in loopback.turn_texts(server.requests[1])[0]
  assert 'WIDTH = 128' in loopback.turn_texts(server.requests[2])[0]
  assert 'You doubt.' in loopback.system_text(server.requests[1])
  assert made.program.text().startswith('WIDTH=9\n')
  assert (made.author, made.role) == (api.model, 'architect')


def test_a_review_that_fails_or_agrees_leaves_the_draft_to_its_author(api, server, book, team):
  server.script = [answer(WIDER), answer(WIDER), *[answer('I agree.')] * 3]
  made = propose(api, server, book, options=team)
  assert 'WIDTH = 96' in made.program.text()
  assert (made.author, made.role) == (api.model, 'architect')


# Lessons.


LESSONS = (
  '{"lessons": [{"text": "Width pays.", "trials": [1], "tags": ["WIDTH"], "change": -0.1,'
  ' "uncertainty": 0.1}]}'
)


def test_lessons_are_asked_for_as_often_as_said(api, server, book):
  def answers(request):
    wanted = loopback.settings(request)['schema']['properties']
    return answer(LESSONS if 'lessons' in wanted else WIDER)

  server.rule = answers
  made, history, learnt = made_for(api, server, lessons_interval=10), {}, []
  memory = Memory(history, OBJECTIVE)
  for number in range(25):
    history[number] = trial(number)
    known = context(book, history=history, memory=memory, record_lessons=learnt.append)
    assert made.propose(IMPROVE, known, np.random.default_rng(number)).author == api.model
  assert [e.purpose for e in book.last].count('lessons') == len(learnt) == 2
  assert learnt[0] == (types.Lesson('Width pays.', (1,), ('WIDTH',), 0.1, 0.1, api.model),)


@pytest.mark.parametrize(
  'fault', [answer('{"lessons": 3}'), loopback.blocked(), loopback.api_error(500, 'INTERNAL')]
)
def test_lessons_that_cannot_be_had_cost_no_turn(api, server, book, fault):
  server.script = [fault, answer(WIDER)]
  history = {n: trial(n) for n in range(10)}
  learnt = []
  known = {
    'history': history,
    'memory': Memory(history, OBJECTIVE),
    'record_lessons': learnt.append,
  }
  made = propose(api, server, book, options={'lessons_interval': 5}, **known)
  assert made.author == api.model and not learnt


# Options.


@pytest.mark.parametrize('key', ['schlüssel', 'one\ntwo', 'one two'])
def test_a_key_that_no_header_can_carry_is_refused_at_the_start(api, monkeypatch, key):
  monkeypatch.setenv(api.key_variable, key)
  with pytest.raises(ValueError, match='which no key has; copy it again') as refusal:
    PROPOSERS.make(api.name)
  assert 'one' not in str(refusal.value)


def test_a_missing_key_is_said_before_the_run(api, monkeypatch):
  monkeypatch.delenv(api.key_variable)
  with pytest.raises(ValueError, match=f'set the environment variable {api.key_variable}'):
    PROPOSERS.make(api.name)
  monkeypatch.setenv(api.key_variable, KEY)
  assert KEY not in repr(PROPOSERS.make(api.name))


def test_either_of_geminis_variables_has_the_key(monkeypatch):
  monkeypatch.delenv('GEMINI_API_KEY')
  with pytest.raises(ValueError, match='GEMINI_API_KEY or GOOGLE_API_KEY'):
    PROPOSERS.make('gemini')
  monkeypatch.setenv('GOOGLE_API_KEY', KEY)
  assert PROPOSERS.make('gemini')


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'models': ()}, 'name one model'),
    ({'models': ('a-99',)}, 'price of a-99 is not known'),
    ({'attempts': 0}, 'attempts is 0'),
    ({'timeout_seconds': float('nan')}, 'timeout_seconds.* is nan'),
    ({'max_dollars': -1.0}, 'max_dollars is -1'),
    ({'max_repairs': -1}, 'max_repairs is -1'),
    ({'prices': [['a', -1.0, 1.0]]}, 'prices of a'),
    ({'base_url': 'example.org'}, 'base_url'),
    ({'fallback': 'nobody'}, 'no proposer'),
    ({'roles': ('nobody',)}, 'no role'),
    ({'prices': [['a', 1.0]]}, 'prices'),
    ({'omitted_sections': ['lesson']}, "'lesson'; the optional sections are .*lessons"),
  ],
)
def test_options_that_cannot_work_are_refused(api, options, message):
  with pytest.raises(ValueError, match=message):
    PROPOSERS.make(api.name, options)


def test_no_proposer_is_its_own_fallback(api):
  with pytest.raises(ValueError, match=f"fallback is '{api.name}' itself"):
    PROPOSERS.make(api.name, {'fallback': api.name})


def test_options_come_through_a_config(api):
  """Which takes no key with a dot in it, and models have them in their names."""
  prices, models = ((api.model, 3.0, 4.0),), (api.model, api.lite)
  options = ml_collections.ConfigDict({'prices': prices, 'models': models})
  assert PROPOSERS.make(api.name, options.to_dict()).prices == prices


def test_prices_are_needed_for_a_cap_in_dollars_alone(api):
  assert PROPOSERS.make(api.name, {'models': ['a-99'], 'max_dollars': 0.0})
  made = PROPOSERS.make(api.name, {'models': ['a-99'], 'prices': [['a-99', 1, 2.0]]})
  assert made.models == ('a-99',)
  assert {*api.proposer().models, api.lite} <= api.proposer.known_prices.keys()


def test_an_omitted_section_is_not_in_the_prompt(api, server, book):
  server.rule = lambda request: answer(WIDER)
  pending = {5: types.Edit(PROGRAM, 'an edit that runs now', types.Hypothesis('A claim.'))}
  propose(api, server, book, pending=pending)
  propose(api, server, book, pending=pending, options={'omitted_sections': ('pending',)})
  with_it, without = (loopback.turn_texts(request)[0] for request in server.requests)
  assert 'an edit that runs now' in with_it
  assert 'an edit that runs now' not in without and TEXT.strip() in without


def test_what_ends_the_process_leaves_no_call_without_an_end(api, server, book):
  def interrupted(program):
    raise KeyboardInterrupt

  server.script = [answer(WIDER)]
  with contextlib.suppress(KeyboardInterrupt):
    propose(api, server, book, check=interrupted)
  assert [e.state for e in book.exchanges] == ['sent', 'answered']
