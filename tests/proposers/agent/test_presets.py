"""Presets with stand-ins for the agents themselves: what runs, what is passed, what it costs."""

import json
import pathlib

import numpy as np
import pytest

from autoresearch_jax import types
from autoresearch_jax.proposers import PROPOSERS, NothingToPropose, ProposalContext
from autoresearch_jax.proposers.agent.presets import PRESETS
from autoresearch_jax.sandbox import linux

pytestmark = pytest.mark.slow

KEY, NOTHING = 'made-up-key-0123456789', types.Spend()
PROGRAM = types.Program((('model.py', 'RATE = 0.1\n'),), 'model.py')
SPEC = types.Spec('supervised', 'cpu', 1, types.Budget(300, 'steps'), None, None, (64,), 10)
SHUT_IN = 'full' if linux.landlock_version() and linux.has_seccomp() else 'none'
EVENTS = {
  'claude-code': [
    {'type': 'assistant', 'message': {'content': [{'type': 'text', 'text': 'I did it.'}]}},
    {
      'type': 'result',
      'total_cost_usd': 0.25,
      'modelUsage': {'one': {'inputTokens': 3000, 'outputTokens': 200}},
    },
  ],
  'codex': [
    {'type': 'item.completed', 'item': {'type': 'agent_message', 'text': 'I did it.'}},
    {'type': 'turn.completed', 'usage': {'input_tokens': 3000, 'output_tokens': 200}},
  ],
  'pi': [
    {'type': 'message_update', 'message': {'role': 'assistant', 'content': [{'text': 'I'}]}},
    {
      'type': 'message_end',
      'message': {
        'role': 'assistant',
        'content': [{'type': 'text', 'text': 'I did it.'}],
        'usage': {'input': 3000, 'output': 200, 'cost': {'total': 0.25}},
      },
    },
  ],
}


@pytest.fixture
def install(tmp_path, monkeypatch):
  """Puts a program on PATH that edits the program and prints the preset's events."""
  for preset in PRESETS.values():
    for name in (*preset.key_variables, *preset.passed_variables):
      monkeypatch.delenv(name, raising=False)
  folder = tmp_path / 'installed' / 'bin'
  folder.mkdir(parents=True)

  def installed(name, *, key=KEY, exit_code=0):
    path = folder / PRESETS[name].program
    lines = [json.dumps(event, separators=(',', ':')) for event in EVENTS[name]]
    prints = '\n'.join(f"echo '{line}'" for line in lines)
    path.write_text(
      '#!/bin/sh\ncat > /dev/null\nsed s/0.1/0.2/ model.py > ../new && cat ../new > model.py\n'
      f'echo "called with $@ by $IS_SANDBOX $GREETING $ANTHROPIC_API_KEY"\n{prints}\n'
      f'exit {exit_code}\n'
    )
    path.chmod(0o755)
    monkeypatch.setenv('PATH', f'{folder}:/usr/bin:/bin')
    if key:
      monkeypatch.setenv(PRESETS[name].key_variables[0], key)
    return name

  return installed


@pytest.fixture
def propose(tmp_path):
  """Proposes by a preset; returns the edit, or why there is none, and the last record."""

  def proposed(preset, spent=NOTHING, **options):
    made = {'preset': preset, 'isolation': SHUT_IN, 'fallback': '', 'max_repairs': 0, **options}
    agent, records = PROPOSERS.make('agent', made), []
    context = ProposalContext(
      (PROGRAM,), {}, ('model.py',), types.Objective('val_loss', 'minimize'), SPEC,
      scratch=tmp_path / 'scratch', record=records.append, spend=lambda: spent,
    )  # fmt: skip
    try:
      edit = agent.propose(
        types.Proposal(types.Operation.IMPROVE), context, np.random.default_rng(0)
      )
    except NothingToPropose as nothing:
      return str(nothing), (records or [None])[-1]
    return edit, records[-1]

  return proposed


@pytest.mark.parametrize('name', EVENTS)
def test_a_preset_runs_and_its_report_is_recorded(install, propose, name):
  edit, record = propose(
    install(name), extra_arguments='--model some', variables=(('GREETING', 'hello'),)
  )
  assert edit.program == PROGRAM.with_text('RATE = 0.2\n') and edit.author == name
  assert record.response.endswith('I did it.\n') and record.model == name
  assert '--model some by' in record.response and 'hello' in record.response
  assert (record.input_tokens, record.output_tokens) == (3000, 200)
  assert record.dollars == (0.0 if name == 'codex' else 0.25)
  assert 'message_update' not in record.response


def test_the_key_is_passed_and_not_recorded(install, propose):
  _, record = propose(install('claude-code'))
  assert '[ANTHROPIC_API_KEY]' in record.response and KEY not in record.response
  assert 'by 1 ' in record.response  # a variable of the preset


def test_tokens_are_priced_and_capped(install, propose):
  codex = install('codex')
  limits = {'dollars_per_call': 0.5, 'max_dollars': 2.0, 'token_prices': (10.0, 100.0)}
  _, record = propose(codex, **limits)
  assert record.dollars == pytest.approx(0.05)
  said, _ = propose(codex, types.Spend(1, dollars=1.6), **limits)
  assert 'Budget exhausted' in said and 'max_dollars' in said
  said, record = propose(codex, types.Spend(1, 900, 200), max_total_tokens=1000)
  assert '1,100 of 1,000 tokens' in said and record is None


def test_a_call_that_fails_costs_what_it_reported_or_was_assumed_to(install, propose):
  limits = {'dollars_per_call': 0.5, 'max_dollars': 2.0}
  said, record = propose(install('claude-code', exit_code=3), **limits)
  assert 'ended with exit code 3' in said and 'I did it.' in said and record.dollars == 0.25
  said, record = propose(install('pi', exit_code=3), **limits)
  assert 'ended with exit code 3' in said and record.dollars == 0.5  # of a part of it


def test_what_is_missing_is_named_with_its_remedy(install, propose, monkeypatch):
  name = install('claude-code', key='')
  with pytest.raises(ValueError, match=r'ANTHROPIC_API_KEY or .*home_files.*credentials\.json'):
    propose(name)
  edit, _ = propose(name, pass_env=('PATH',))
  assert edit.author == name
  monkeypatch.setenv('PATH', '/usr/bin:/bin')
  with pytest.raises(ValueError, match='npm install -g opencode-ai'):
    propose('opencode')


def test_each_preset_has_a_recipe():
  page = (pathlib.Path(__file__).parents[3] / 'docs' / 'coding-agents.md').read_text()
  for name, preset in PRESETS.items():
    recipe = page.partition(f'\n### {name}\n')[2].partition('\n### ')[0]
    command = ' '.join(preset.command) if name != 'pi' else preset.command[4].replace('"$@" ', '')
    assert command in recipe and preset.install in recipe
    assert all(variable in recipe for variable, _ in preset.variables)
    assert f'| `{name}` |' in page and preset.login in page and preset.key_variables[0] in page
