"""What is read of the events that command-line agents print."""

import json

import pytest

from autoresearch_jax.proposers.agent.report import (
  MAX_TOKENS,
  AgentReport,
  ReportedCost,
  read_report,
)
from autoresearch_jax.sandbox.command_spec import CommandResult

TOOL = {'file_path': 'model.py'}
STREAMS = {
  'claude': (
    {'type': 'system', 'subtype': 'init', 'model': 'some'},
    {
      'type': 'assistant',
      'message': {
        'content': [
          {'type': 'text', 'text': 'Looking.'},
          {'type': 'tool_use', 'name': 'Read', 'input': TOOL},
        ],
        'usage': {'input_tokens': 800, 'cache_read_input_tokens': 200, 'output_tokens': 50},
      },
    },
    {'type': 'user', 'message': {'content': [{'type': 'tool_result', 'content': 'RATE = 1'}]}},
    {
      'type': 'result',
      'is_error': False,
      'total_cost_usd': 0.02,
      'modelUsage': {
        'one': {'inputTokens': 1000, 'cacheReadInputTokens': 900, 'outputTokens': 60},
        'two': {'inputTokens': 90, 'cacheCreationInputTokens': 10, 'outputTokens': 40},
      },
    },
  ),
  'codex': (
    {'type': 'thread.started', 'thread_id': '1'},
    {'type': 'item.completed', 'item': {'type': 'agent_message', 'text': 'Looking.'}},
    {'type': 'item.started', 'item': {'type': 'command_execution', 'command': 'no'}},
    {
      'type': 'item.completed',
      'item': {
        'type': 'command_execution', 'command': 'Read model.py', 'aggregated_output': 'RATE = 1',
      },
    },
    {'type': 'turn.completed', 'usage': {'input_tokens': 2000, 'output_tokens': 100}},
  ),
  'gemini': (
    {'type': 'init', 'model': 'auto'},
    {'type': 'message', 'role': 'user', 'content': 'the whole task'},
    {'type': 'message', 'role': 'assistant', 'content': 'Look', 'delta': True},
    {'type': 'message', 'role': 'assistant', 'content': 'ing.', 'delta': True},
    {'type': 'tool_use', 'tool_name': 'Read', 'parameters': TOOL},
    {'type': 'tool_result', 'status': 'success', 'output': 'RATE = 1'},
    {'type': 'result', 'stats': {'input_tokens': 2000, 'output_tokens': 60, 'total_tokens': 2100}},
  ),
  'opencode': (
    {'type': 'step_start', 'part': {}},
    {'type': 'text', 'part': {'text': 'Looking.'}},
    {
      'type': 'tool_use',
      'part': {'tool': 'Read', 'state': {'input': TOOL, 'output': 'RATE = 1'}},
    },
    *[
      {
        'type': 'step_finish',
        'part': {
          'cost': 0.01,
          'tokens': {
            'input': 800, 'output': 40, 'reasoning': 10, 'cache': {'read': 150, 'write': 50},
          },
        },
      }
    ] * 2,
  ),
  'pi': (
    {'type': 'agent_start'},
    {'type': 'message_end', 'message': {'role': 'user', 'content': [{'text': 'the whole task'}]}},
    *[
      {
        'type': 'message_end',
        'message': {
          'role': 'assistant',
          'content': content,
          'usage': {
            'input': 800, 'output': 50, 'cacheRead': 150, 'cacheWrite': 50, 'cost': {'total': 0.01},
          },
        },
      }
      for content in (
        [
          {'type': 'text', 'text': 'Looking.'},
          {'type': 'toolCall', 'name': 'Read', 'arguments': TOOL},
        ],
        [],
      )
    ],
    {'type': 'message_end', 'message': {'role': 'toolResult', 'content': [{'text': 'RATE = 1'}]}},
  ),
}  # fmt: skip


def written(events):
  return ''.join(json.dumps(event) + '\n' for event in events)


@pytest.mark.parametrize('name', STREAMS)
def test_words_tools_results_and_costs_are_read(name):
  report = read_report('A warning.\n' + written(STREAMS[name]), name)
  lines = report.text.splitlines()
  assert lines[:2] == ['A warning.', 'Looking.'] and '  RATE = 1' in lines
  assert any('Read' in line and 'model.py' in line for line in lines)
  assert 'the whole task' not in report.text and report.cost
  assert (report.cost.input_tokens, report.cost.output_tokens) == (2000, 100)
  says = {'claude', 'opencode', 'pi'}
  assert report.cost.dollars == (pytest.approx(0.02) if name in says else None)


@pytest.mark.parametrize('name', STREAMS)
def test_odd_events_are_no_error(name):
  for event in STREAMS[name]:
    for key in event:
      for odd in (None, 3, 'x', [], [1], {}, {'x': {}}, 10**400, True):
        read_report(written([{**event, key: odd}]), name)
  for line in ('{', '{"type": 3}', '{}', '{"type": "result"', '[1]', '{"a":' * 5000):
    assert read_report(line, name).text.strip() == line
  assert read_report('', name) == AgentReport('')


def test_numbers_that_cannot_be_are_not_believed():
  usage = {'inputTokens': 10**400, 'outputTokens': -5}
  for dollars in (float('nan'), float('inf'), -1, 'many'):
    event = {'type': 'result', 'total_cost_usd': dollars, 'modelUsage': {'one': usage}}
    cost = read_report(written([event]), 'claude').cost
    assert cost == ReportedCost(0, 0, None, is_total=True)


def test_a_retry_is_told():
  event = {'type': 'system', 'subtype': 'api_retry', 'attempt': 2, 'error_status': 401}
  assert '401' in read_report(written([event]), 'claude').text


def test_the_sum_of_many_steps_can_be_recorded():
  step = {'type': 'assistant', 'message': {'usage': {'output_tokens': MAX_TOKENS - 1}}}
  assert read_report(written([step] * 9), 'claude').cost.output_tokens == MAX_TOKENS


def test_long_results_are_cut():
  event = {'type': 'tool_result', 'output': 'x' * 100_000}
  assert len(read_report(written([event]), 'gemini').text) < 3000


@pytest.mark.parametrize(
  ('cost', 'ended', 'dollars'),
  [
    (None, ('exit', 0), 0.5),
    (None, ('not_started', None), 0.0),
    (ReportedCost(9, 9, 0.2, is_total=True), ('exit', 0), 0.2),
    (ReportedCost(9, 9, 0.2, is_total=True), ('exit', 1), 0.2),
    (ReportedCost(9, 9, 0.2), ('exit', 0), 0.2),
    (ReportedCost(9, 9, 0.2), ('exit', 1), 0.5),
    (ReportedCost(9, 9, 0.7), ('timeout', None), 0.7),
    (ReportedCost(9, 9), ('exit', 0), 0.5),
  ],
)
def test_a_call_costs_what_is_reported_or_what_was_assumed(cost, ended, dollars):
  assert AgentReport('', cost).dollars(CommandResult(*ended), 0.5, (0.0, 0.0)) == dollars


def test_tokens_are_priced():
  report = AgentReport('', ReportedCost(1_000_000, 100_000, is_total=True))
  dollars = report.dollars(CommandResult('exit', 0), 0.5, (2.0, 10.0))
  assert dollars == pytest.approx(3.0)
  assert AgentReport('').dollars(CommandResult('exit', 0), 0.5, (2.0, 10.0)) == 0.5
