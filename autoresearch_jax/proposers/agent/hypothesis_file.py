"""What an agent says about its edit: `hypothesis.json`, or else what the diff shows."""

import math

import msgspec

from autoresearch_jax.messages import one_line
from autoresearch_jax.programs.constants import assignments
from autoresearch_jax.proposers.agent.transcript import Redaction
from autoresearch_jax.proposers.agent.worktree import HYPOTHESIS, AgentEditError, AgentWorktree
from autoresearch_jax.types import Edit, Hypothesis, Objective, Program

MAX_FILE = 2**16  # bytes
MAX_CLAIM, MAX_DESCRIPTION, MAX_STRAY, MAX_TAG, MAX_TAGS = 600, 200, 100, 40, 8


class _HypothesisFile(msgspec.Struct):
  """`hypothesis.json`; other fields are ignored."""

  claim: str = ''
  mechanisms: list[str] = []
  predicted_change: float | None = None
  uncertainty: float | None = None
  description: str = ''


def edit_with_hypothesis(
  tree: AgentWorktree,
  parent: Program,
  program: Program,
  objective: Objective,
  redaction: Redaction,
  author: str,
  stray: str = '',
) -> Edit:
  """Returns the agent's edit with its hypothesis.

  Args:
    tree: The agent's folder.
    parent: The program before the edit.
    program: The program after it.
    objective: The metric and its direction.
    redaction: Removes secrets from the agent's words.
    author: Name of the agent.
    stray: Names of other files that it changed or left, which are ignored; the claim says so.
  """
  stated, changes = _read(tree), _describe_changes(parent, program)
  description = one_line(redaction.text(stated.description), MAX_DESCRIPTION) or changes
  claim = one_line(redaction.text(stated.claim), MAX_CLAIM).rstrip('.')
  if not claim:
    claim = f'The agent gave no hypothesis; the diff changes {changes}'
  tags = [one_line(redaction.text(tag), MAX_TAG) for tag in stated.mechanisms[:MAX_TAGS]]
  effect = _finite(stated.predicted_change)
  if effect is not None and objective.direction == 'minimize':
    effect = -effect
  uncertainty = _finite(stated.uncertainty)
  if uncertainty is not None and uncertainty < 0:
    uncertainty = None
  ignored = f' Changes to other files were ignored: {one_line(stray, MAX_STRAY)}.' if stray else ''
  hypothesis = Hypothesis(f'{claim}.{ignored}', tuple(filter(None, tags)), effect, uncertainty)
  return Edit(program, description, hypothesis, author=author)


def _read(tree: AgentWorktree) -> _HypothesisFile:
  """Reads `hypothesis.json`; empty if it is missing or malformed."""
  try:
    return msgspec.json.decode(tree.text(HYPOTHESIS, MAX_FILE), type=_HypothesisFile)
  except (AgentEditError, msgspec.DecodeError, RecursionError):
    return _HypothesisFile()


def _finite(value: float | None) -> float | None:
  return value if value is not None and math.isfinite(value) else None


def _describe_changes(parent: Program, program: Program) -> str:
  """Returns what differs on one line: constants by name, else the number of lines by file."""
  before, parts = dict(parent.files), []
  for name, text in program.files:
    if (old := before.get(name, '')) == text:
      continue
    was, now = _constants(old), _constants(text)
    moved = [f'{key} {was[key]} -> {now[key]}' for key in was if was[key] != now.get(key, was[key])]
    lines = len(set(text.splitlines()).symmetric_difference(old.splitlines()))
    parts.append(', '.join(moved) or f'{max(lines, 1)} lines of {name}')
  return one_line('; '.join(parts), MAX_DESCRIPTION)


def _constants(text: str) -> dict[str, str]:
  """Returns the source of the values of ALL_CAPS names at a file's top level."""
  return {c.name: one_line(c.code, MAX_TAG) for c in assignments(text) if not c.nested}
