"""The command prints the calls of a trial from a real ledger."""

import dataclasses
import json

import pytest
from helpers.synthetic_run import Nudge, run

from autoresearch_jax.cli.transcript import main
from autoresearch_jax.testing import loopback_model as loopback
from autoresearch_jax.types import Exchange

ASKED = {'system': 'Be brief.', 'turns': ['What now?']}
REPAIR = {'system': 'Be brief.', 'turns': ['What now?', '{"a": 1}', 'Wrong: fix it.']}


def call(number, request, response, state='answered', **more):
  made = Exchange(str(number), 'm', 'propose', 'sent', request=request, input_tokens=9, dollars=2.0)
  return made, dataclasses.replace(
    made, state=state, response=response, seconds=1.5, input_tokens=7, output_tokens=3,
    dollars=0.5, **more,
  )  # fmt: skip


class Asking(Nudge):
  """Records calls of both APIs' forms, of an agent, and one without an end."""

  def propose(self, proposal, context, rng):
    calls = []
    if context.trial_id == 1:
      gemini = loopback.GEMINI.answer('{"a": 1}', 'STOP').decode()
      chat = loopback.CHAT.answer('{"b": 2}\x1b[2J', 'STOP', None).decode()
      calls += call(1, json.dumps(ASKED), gemini)
      calls += call(2, json.dumps(REPAIR), chat, role='critic')
      calls += call(3, 'Edit the files.', '', 'failed', error='The agent failed.')
      calls.append(call(4, json.dumps(ASKED), '')[0])
    for exchange in calls:
      context.record(exchange)
    return super().propose(proposal, context, rng)


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  directory = tmp_path_factory.mktemp('run')
  run(directory, 4, proposer=Asking())
  return str(directory)


def test_a_trial_shows_its_calls_and_each_turn_once(workdir, capsys):
  assert main([workdir, '--trial=1']) == 0
  told = capsys.readouterr().out
  assert 'Call 4 of 4' in told and 'm as critic (propose), answered after 1.5 s' in told
  assert '7 + 3 tokens, $0.5000' in told and ', sent after' in told
  for text in ('{"a": 1}', '{"b": 2}', 'Wrong: fix it.', 'Edit the files.', 'The agent failed.'):
    assert told.count(text) == 1
  assert 'first 3 turns are those of the call before' in told
  assert '\x1b' not in told


def test_the_calls_are_json(workdir, capsys):
  assert main([workdir, '--trial=1', '--json']) == 0
  calls = json.loads(capsys.readouterr().out)
  assert [c['state'] for c in calls] == ['answered', 'answered', 'failed', 'sent']
  assert [c['dollars'] for c in calls] == [0.5, 0.5, 0.5, 2.0]
  assert calls[0]['turns'][-1] == {'speaker': 'model', 'text': '{"a": 1}'}
  assert [turn['speaker'] for turn in calls[1]['turns']] == [
    'system',
    'user',
    'model',
    'user',
    'model',
  ]


def test_without_a_trial_it_lists_all_calls(workdir, capsys):
  assert main([workdir]) == 0
  told = capsys.readouterr().out
  assert told.count('trial 1: ') == 4 and '4 calls, 39 tokens, $3.5000' in told


def test_a_trial_without_calls_or_none_at_all(workdir, tmp_path, capsys):
  assert main([workdir, '--trial=2']) == 0
  assert 'No model or agent was called for trial 2.' in capsys.readouterr().out
  assert main([workdir, '--trial=99']) == 2
  assert 'has no trial 99' in capsys.readouterr().err
  assert main([str(tmp_path), '--trial=1']) == 2
