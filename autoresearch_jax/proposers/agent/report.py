"""Reads the JSON events that command-line agents print: what they said and did, and what it cost.

An event is one line. Lines that are no events, such as warnings, are kept as they are. Nothing here
raises for odd events: an agent may print what it likes.
"""

import dataclasses
import json
from collections.abc import Callable, Iterator
from typing import Any, Literal

from autoresearch_jax.sandbox.command_spec import CommandResult

ReportFormat = Literal['claude', 'codex', 'gemini', 'opencode', 'pi']
MAX_TOKENS, MAX_DOLLARS = 2**48, 1e9  # of one call; larger numbers are ignored
MAX_TOOL_TEXT = 2000  # characters of a tool's arguments or result


@dataclasses.dataclass(frozen=True)
class ReportedCost:
  """What an agent says that it used.

  Attributes:
    input_tokens: Tokens of its requests, cached ones included.
    output_tokens: Tokens of the answers, thoughts included.
    dollars: What they cost; None if it does not say.
    is_total: Whether this is the whole call so far, instead of one step of it.
  """

  input_tokens: int
  output_tokens: int
  dollars: float | None = None
  is_total: bool = False

  def __add__(self, step: 'ReportedCost') -> 'ReportedCost':
    known = [cost for cost in (self.dollars, step.dollars) if cost is not None]
    return ReportedCost(
      min(self.input_tokens + step.input_tokens, MAX_TOKENS),
      min(self.output_tokens + step.output_tokens, MAX_TOKENS),
      min(sum(known), MAX_DOLLARS) if known else None,
    )


@dataclasses.dataclass(frozen=True)
class AgentReport:
  """An agent's output.

  Attributes:
    text: Its messages, the tools that it used and their results, as text.
    cost: What it used; None if it did not say.
  """

  text: str
  cost: ReportedCost | None = None

  def dollars(
    self, result: CommandResult, dollars_per_call: float, token_prices: tuple[float, float]
  ) -> float:
    """Returns what the call cost.

    Args:
      result: How it ended.
      dollars_per_call: What it is assumed to cost if the agent does not say, and at least if it
        was killed before its last report.
      token_prices: Dollars per million input tokens and output tokens; zeros if not known.
    """
    if result.ended_by == 'not_started':
      return 0.0
    dollars = self.cost.dollars if self.cost else None
    if self.cost and dollars is None and any(token_prices):
      inputs, outputs = token_prices
      dollars = (self.cost.input_tokens * inputs + self.cost.output_tokens * outputs) / 1e6
    if self.cost is None or dollars is None:
      return dollars_per_call
    complete = self.cost.is_total or (result.ended_by, result.exit_code) == ('exit', 0)
    return dollars if complete else max(dollars, dollars_per_call)


def read_report(output: str, report_format: ReportFormat) -> AgentReport:
  """Reads an agent's output."""
  reader, texts = _READERS[report_format], list[str]()
  steps: ReportedCost | None = None
  total: ReportedCost | None = None
  for line in output.splitlines(keepends=True):
    event = _event(line)
    for found in [line] if event is None else reader(event):
      if isinstance(found, ReportedCost):
        if found.is_total:
          total = found
        else:
          steps = steps + found if steps else found
      elif found:
        if texts and not texts[-1].endswith('\n') and found.endswith('\n'):
          texts.append('\n')  # after the pieces of a message
        texts.append(found)
  return AgentReport(_block(''.join(texts)), total or steps)


def _event(line: str) -> Any:
  """Returns the event on a line; None if it holds none."""
  if not line.startswith('{'):
    return None
  try:
    found = json.loads(line)
  except (ValueError, RecursionError):
    return None
  return found if isinstance(found.get('type'), str) else None


def _claude(event: Any) -> Iterator[str | ReportedCost]:
  if event['type'] == 'result':
    if event.get('is_error'):
      yield _block(event.get('result'))
    by_model = event.get('modelUsage')
    used = list(by_model.values()) if isinstance(by_model, dict) else []
    inputs = ('inputTokens', 'cacheReadInputTokens', 'cacheCreationInputTokens')
    yield ReportedCost(
      sum(_tokens(model, name) for model in used for name in inputs),
      sum(_tokens(model, 'outputTokens') for model in used),
      _dollars(event.get('total_cost_usd')),
      is_total=True,
    )
  elif event.get('subtype') == 'api_retry':
    names = ('attempt', 'max_retries', 'error_status', 'error')
    yield _tool('api_retry', {name: event.get(name) for name in names})
  elif event['type'] in ('assistant', 'user'):
    for block in _blocks(_at(event, 'message', 'content')):
      yield _block(block.get('text') or block.get('thinking'))
      if block.get('type') == 'tool_use':
        yield _tool(block.get('name'), block.get('input'))
      elif block.get('type') == 'tool_result':
        yield _result(block.get('content'))
    usage = _at(event, 'message', 'usage')
    if isinstance(usage, dict):
      inputs = ('input_tokens', 'cache_read_input_tokens', 'cache_creation_input_tokens')
      yield ReportedCost(
        sum(_tokens(usage, name) for name in inputs), _tokens(usage, 'output_tokens')
      )


def _codex(event: Any) -> Iterator[str | ReportedCost]:
  item = event.get('item')
  if event['type'] == 'turn.completed':
    usage = event.get('usage')
    yield ReportedCost(
      _tokens(usage, 'input_tokens'), _tokens(usage, 'output_tokens'), is_total=True
    )
  elif event['type'] in ('error', 'turn.failed'):
    yield _block(event.get('message') or _at(event, 'error', 'message'))
  elif event['type'] == 'item.completed' and isinstance(item, dict):
    if item.get('type') == 'command_execution':
      yield _tool('command', item.get('command'))
      yield _result(item.get('aggregated_output'))
    elif item.get('type') == 'file_change':
      yield _tool('file_change', item.get('changes'))
    else:
      yield _block(item.get('text') or item.get('message'))


def _gemini(event: Any) -> Iterator[str | ReportedCost]:
  if event['type'] == 'message' and event.get('role') == 'assistant':
    content = event.get('content')
    if isinstance(content, str):
      yield content if event.get('delta') else _block(content)
  elif event['type'] == 'tool_use':
    yield _tool(event.get('tool_name'), event.get('parameters'))
  elif event['type'] == 'tool_result':
    yield _result(event.get('output') or event.get('status'))
  elif event['type'] == 'error':
    yield _block(event.get('message'))
  elif event['type'] == 'result':
    yield _block(_at(event, 'error', 'message'))
    stats = event.get('stats')
    # Thoughts count in the total alone.
    inputs, total = _tokens(stats, 'input_tokens'), _tokens(stats, 'total_tokens')
    outputs = max(_tokens(stats, 'output_tokens'), total - inputs)
    yield ReportedCost(inputs, outputs, is_total=True)


def _opencode(event: Any) -> Iterator[str | ReportedCost]:
  part = event.get('part')
  if event['type'] in ('text', 'reasoning'):
    yield _block(_at(part, 'text'))
  elif event['type'] == 'tool_use':
    yield _tool(_at(part, 'tool'), _at(part, 'state', 'input'))
    yield _result(_at(part, 'state', 'output') or _at(part, 'state', 'error'))
  elif event['type'] == 'error':
    yield _block(_at(event, 'error', 'data', 'message') or json.dumps(event.get('error')))
  elif event['type'] == 'step_finish':
    tokens = _at(part, 'tokens')
    cached = _at(tokens, 'cache')
    yield ReportedCost(
      _tokens(tokens, 'input') + _tokens(cached, 'read') + _tokens(cached, 'write'),
      _tokens(tokens, 'output') + _tokens(tokens, 'reasoning'),
      _dollars(_at(part, 'cost')),
    )


def _pi(event: Any) -> Iterator[str | ReportedCost]:
  message = event.get('message')
  if event['type'] != 'message_end' or not isinstance(message, dict):
    return
  if message.get('role') == 'toolResult':
    yield _result(message.get('content'))
  elif message.get('role') == 'assistant':
    for block in _blocks(message.get('content')):
      yield _block(block.get('text') or block.get('thinking'))
      if block.get('type') == 'toolCall':
        yield _tool(block.get('name'), block.get('arguments'))
    yield _block(message.get('errorMessage'))
    usage = message.get('usage')
    yield ReportedCost(
      sum(_tokens(usage, name) for name in ('input', 'cacheRead', 'cacheWrite')),
      _tokens(usage, 'output'),
      _dollars(_at(usage, 'cost', 'total')),
    )


_READERS: dict[str, Callable[[Any], Iterator[str | ReportedCost]]] = {
  'claude': _claude,
  'codex': _codex,
  'gemini': _gemini,
  'opencode': _opencode,
  'pi': _pi,
}


def _block(text: object) -> str:
  """Returns a paragraph; '' for what is no text."""
  return f'{text.rstrip()}\n' if isinstance(text, str) and text.strip() else ''


def _tool(name: object, arguments: object) -> str:
  written = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
  return f'[{name}] {_clipped(written)}\n'


def _result(content: object) -> str:
  """Returns a tool's result, indented."""
  texts = [block.get('text') for block in _blocks(content)]
  text = content if isinstance(content, str) else '\n'.join(t for t in texts if isinstance(t, str))
  return ''.join(f'  {line}\n' for line in _clipped(text).splitlines())


def _clipped(text: str) -> str:
  return text if len(text) <= MAX_TOOL_TEXT else f'{text[:MAX_TOOL_TEXT]} [...]'


def _blocks(content: object) -> list[dict[str, Any]]:
  return [b for b in content if isinstance(b, dict)] if isinstance(content, list) else []


def _at(found: Any, *names: str) -> Any:
  for name in names:
    found = found.get(name) if isinstance(found, dict) else None
  return found


def _tokens(counts: Any, name: str) -> int:
  number = _at(counts, name)
  return number if isinstance(number, int) and 0 < number < MAX_TOKENS else 0


def _dollars(number: Any) -> float | None:
  usable = isinstance(number, int | float) and 0 <= number < MAX_DOLLARS
  return float(number) if usable else None
