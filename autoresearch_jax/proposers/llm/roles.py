"""Roles: instructions that make a language model look at a program from one point of view.

A role is one Markdown file with YAML front matter:

    ---
    operations: [improve, tuning]   # what it acts on; default: everything
    hand_offs: [critic]             # roles that review its draft, in this order
    model: gemini-...               # default: the proposer's choice
    temperature: 0.7                # default: the model's own
    ---
    You look at ...

`operations` lists operations of proposals, kinds of guidance, or `review` for a role that only
reviews the drafts of others. The files in `role_files/` ship with the library; others are given by
their path. Of the roles that fit a proposal, those whose edits win act more often.
"""

import dataclasses
import math
import pathlib
from typing import Any

import numpy as np
import yaml

from autoresearch_jax.proposers.base import ProposalContext
from autoresearch_jax.types import GUIDANCE, RERUNS, Operation, Proposal

FOLDER = pathlib.Path(__file__).parent / 'role_files'
REVIEW = 'review'  # in `operations`: acts on drafts that are handed to it, on no proposal
OPERATIONS = (*(o.value for o in Operation if o not in RERUNS), *GUIDANCE, REVIEW)
KEYS = ('model', 'operations', 'hand_offs', 'temperature')
MAX_TEXT = 12_000  # characters of a role's text, which is in every prompt of the role


@dataclasses.dataclass(frozen=True)
class Role:
  """A point of view for a model.

  Attributes:
    name: Name of the role: its file without the suffix.
    text: Instructions for the model.
    model: Model to ask; '' for the proposer's choice.
    temperature: Sampling temperature; None for the model's default.
    operations: Operations and kinds of guidance that it acts on; none for all.
    hand_offs: Names of the roles that review its draft.
  """

  name: str
  text: str
  model: str = ''
  temperature: float | None = None
  operations: tuple[str, ...] = ()
  hand_offs: tuple[str, ...] = ()

  @property
  def instructions(self) -> str:
    """The part of the system prompt that introduces the role."""
    return f'## Your role: {self.name}\n{self.text}'


def load(names: tuple[str, ...]) -> tuple[Role, ...]:
  """Reads roles.

  Args:
    names: Names of shipped roles, or paths of role files, which end in `.md`.

  Raises:
    ValueError: A role cannot be read, or the roles do not fit together.
  """
  roles = tuple(_read(_path(name)) for name in names)
  known = [role.name for role in roles]
  for role in roles:
    if known.count(role.name) > 1:
      raise ValueError(f'Two roles are named {role.name!r}; rename one of the files.')
    for other in role.hand_offs:
      if other not in known:
        raise ValueError(
          f'The role {role.name!r} hands off to {other!r}, which is not among the roles: '
          f'{", ".join(known)}. Add it to the roles, or remove it from hand_offs.'
        )
  _require_acyclic(roles)
  return roles


def choose(
  roles: tuple[Role, ...], proposal: Proposal, context: ProposalContext, rng: np.random.Generator
) -> Role | None:
  """Returns the role that acts on a proposal; None if no role fits.

  Roles that fit are chosen by Thompson sampling: each draws from Beta(1 + wins, 1 + losses) of its
  edits so far, and the highest draw acts. An edit wins if it was kept or beat its parent.
  """
  fitting = _fitting(roles, proposal)
  if len(fitting) < 2:
    return fitting[0] if fitting else None
  wins, losses = context.outcomes().tally(lambda edit: edit.role)
  draws = [rng.beta(1 + wins[role.name], 1 + losses[role.name]) for role in fitting]
  return fitting[int(np.argmax(draws))]


def shipped() -> list[str]:
  """Returns the names of the roles that ship with the library."""
  return sorted(path.stem for path in FOLDER.glob('*.md'))


def _fitting(roles: tuple[Role, ...], proposal: Proposal) -> list[Role]:
  """Returns the roles that list the guidance; if none does, those for the operation."""
  wanted = [role for role in roles if proposal.guidance and proposal.guidance in role.operations]
  operation = proposal.operation.value
  return wanted or [r for r in roles if not r.operations or operation in r.operations]


def _path(name: str) -> pathlib.Path:
  if name.endswith('.md'):
    path = pathlib.Path(name).expanduser()
    if not path.is_file():
      raise ValueError(f'There is no role file {name}; give the path of a Markdown file.')
    return path
  if name not in shipped():
    raise ValueError(
      f'There is no role {name!r}; there are: {", ".join(shipped())}. For your own, give the path '
      'of a Markdown file that ends in .md.'
    )
  return FOLDER / f'{name}.md'


def _read(path: pathlib.Path) -> Role:
  try:
    content = path.read_text(encoding='utf-8')
  except (OSError, UnicodeDecodeError) as error:
    raise ValueError(f'The role file {path} cannot be read: {error}.') from None
  matter, text = _split(content, path)
  unknown = sorted(str(key) for key in matter if key not in KEYS)
  if unknown:
    raise ValueError(
      f'The role file {path} has the key {unknown[0]!r}; the keys are: {", ".join(KEYS)}.'
    )
  if not text:
    raise ValueError(f'The role file {path} has no text; write what the role looks for.')
  if len(text) > MAX_TEXT:
    raise ValueError(
      f'The role file {path} has {len(text)} characters of text; at most {MAX_TEXT} are allowed, '
      'since they are in every prompt.'
    )
  return Role(
    path.stem,
    text,
    _model(matter.get('model'), path),
    _temperature(matter.get('temperature'), path),
    _operations(matter.get('operations'), path),
    _names(matter.get('hand_offs'), 'hand_offs', path),
  )


def _split(content: str, path: pathlib.Path) -> tuple[dict[Any, Any], str]:
  """Returns front matter and text. Raises ValueError."""
  lines = content.removeprefix('\ufeff').splitlines()
  if not lines or lines[0].rstrip() != '---':
    return {}, '\n'.join(lines).strip()
  ends = [i for i, line in enumerate(lines) if i and line.rstrip() == '---']
  if not ends:
    raise ValueError(f'The front matter of the role file {path} is not closed; end it with ---.')
  try:
    matter = yaml.safe_load('\n'.join(lines[1 : ends[0]])) or {}
  except (yaml.YAMLError, ValueError, RecursionError) as error:
    raise ValueError(
      f'The front matter of the role file {path} is not YAML: {" ".join(str(error).split())}.'
    ) from None
  if not isinstance(matter, dict):
    raise ValueError(
      f'The front matter of the role file {path} is {matter!r:.60}; write keys and values: '
      f'{", ".join(KEYS)}.'
    )
  return matter, '\n'.join(lines[ends[0] + 1 :]).strip()


def _model(value: Any, path: pathlib.Path) -> str:
  if value is None:
    return ''
  if not isinstance(value, str) or not value.strip():
    raise ValueError(f'model of the role file {path} is {value!r:.60}; it must be a name.')
  return value.strip()


def _temperature(value: Any, path: pathlib.Path) -> float | None:
  if value is None:
    return None
  number = isinstance(value, int | float) and not isinstance(value, bool)
  if not number or not math.isfinite(value) or not 0 <= value <= 2:
    raise ValueError(
      f'temperature of the role file {path} is {value!r:.60}; it must be a number from 0 to 2.'
    )
  return float(value)


def _operations(value: Any, path: pathlib.Path) -> tuple[str, ...]:
  operations = _names(value, 'operations', path)
  for operation in operations:
    if operation not in OPERATIONS:
      raise ValueError(
        f'operations of the role file {path} has {operation!r}; there are: {", ".join(OPERATIONS)}.'
      )
  return operations


def _names(value: Any, key: str, path: pathlib.Path) -> tuple[str, ...]:
  if value is None:
    return ()
  if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
    raise ValueError(
      f'{key} of the role file {path} is {value!r:.60}; it must be a list of names, [a, b].'
    )
  return tuple(dict.fromkeys(value))


def _require_acyclic(roles: tuple[Role, ...]) -> None:
  """Raises ValueError if a draft would come back to a role that had it."""
  following = {role.name: role.hand_offs for role in roles}

  def follow(name: str, before: tuple[str, ...]) -> None:
    if name in before:
      cycle = ' -> '.join((*before[before.index(name) :], name))
      raise ValueError(f'The hand_offs of the roles form a cycle: {cycle}. Remove one of them.')
    for other in following[name]:
      follow(other, (*before, name))

  for role in roles:
    follow(role.name, ())
