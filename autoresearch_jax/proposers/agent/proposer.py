"""The proposer `agent`: a coding agent, given as a command, edits the program in its own folder.

    config.proposer = 'agent'
    config.proposer_options = {
      'command': 'claude -p --dangerously-skip-permissions',
      'environment': ('ANTHROPIC_API_KEY',),
      'dollars_a_call': 0.5,
      'max_dollars': 20.0,
    }

Each proposal gets a folder of its own (`worktree.py` says why it is no worktree of the run's
repository) with the program in it. The agent runs there in a sandbox (`confined`). What it changed
within the editable files is the edit; it is refused, with a sentence that goes back to the agent as
often as `repairs` says, when anything else of the program differs, when a file is no plain text any
more, when the program was tried before or when it does not trace. Hidden files, `__pycache__` and
`hypothesis.json` are let pass, as are the agent's home and temporary files. An agent that fails or
runs into a bound gives no edit, whatever it left.

Its answer is data: only `hypothesis.json` is read, for what is told of the edit. The values of the
environment variables that it gets are taken out of the transcript and of the hypothesis; an edit
that has one in it is refused.
"""

import contextlib
import dataclasses
import math
import os
import pathlib
import secrets
import shlex
import threading
from collections.abc import Iterator
from typing import Literal

import msgspec
import numpy as np
import pygit2

from autoresearch_jax.data import cache
from autoresearch_jax.messages import one_line
from autoresearch_jax.programs.constants import assignments
from autoresearch_jax.proposers.agent.transcript import Redaction
from autoresearch_jax.proposers.agent.worktree import HYPOTHESIS, Refused, Worktree
from autoresearch_jax.proposers.base import PROPOSERS, NothingToPropose, ProposalContext, Proposer
from autoresearch_jax.proposers.fallback import Fallback
from autoresearch_jax.proposers.prompt import formatting
from autoresearch_jax.proposers.prompt.budget import Item, Section, TooSmall, fitted
from autoresearch_jax.proposers.prompt.fill import filled
from autoresearch_jax.proposers.prompt.quoting import clean
from autoresearch_jax.proposers.prompt.sections import Sections, contract
from autoresearch_jax.proposers.spend_limits import Caps
from autoresearch_jax.sandbox import command_files, command_policy
from autoresearch_jax.sandbox.command import SandboxedCommand
from autoresearch_jax.sandbox.command_spec import CommandIsolation, CommandResult, CommandSpec
from autoresearch_jax.sandbox.linux import SandboxError
from autoresearch_jax.types import (
  Edit,
  Exchange,
  Hypothesis,
  Isolation,
  Program,
  Proposal,
  Spend,
)

PASSED = ('PATH', 'LANG', 'TERM')  # of the environment, without being asked for
MAX_REFUSAL = 4000  # characters
LARGEST_HYPOTHESIS = 2**16  # bytes
CLAIM, DESCRIPTION, TAG, MAX_TAGS = 600, 200, 40, 8
LAST_WORDS = 300  # characters of the transcript in a sentence


class _AgentHypothesis(msgspec.Struct):
  """`hypothesis.json`; what else is in it is passed over."""

  claim: str = ''
  mechanisms: list[str] = []
  predicted_change: float | None = None
  uncertainty: float | None = None
  description: str = ''


class _Turn:
  """The agent that runs, so that another thread can end it."""

  def __init__(self) -> None:
    self.closed = False
    self._lock = threading.Lock()
    self._running: set[SandboxedCommand] = set()

  def run(self, spec: CommandSpec) -> CommandResult:
    with self._lock:
      if self.closed:
        return CommandResult('stopped')
      try:
        running = SandboxedCommand(spec)
      except OSError as error:
        return CommandResult('not_started', reason=f'{error}.')
      self._running.add(running)
    try:
      return running.wait()
    finally:
      with self._lock:
        self._running.discard(running)

  def close(self) -> None:
    with self._lock:
      self.closed = True
      for running in self._running:
        running.stop()


@PROPOSERS.register(
  'agent', renamed_options={'most_calls': 'max_calls', 'most_dollars': 'max_dollars'}
)
@dataclasses.dataclass(frozen=True)
class Agent(Proposer):
  """The options of `config.proposer_options`.

  command: words, or one string that is split as a shell would; `{prompt}` in a word becomes the
  path of the file with the task, `{folder}` that of the program's folder, which is also where it
  starts. prompt: how it gets the task. tokens: the most the task may take. seconds: deadline of one
  call.

  dollars_a_call: what a call is taken to cost. max_calls, max_dollars: of the run, what other
  proposers spent included; 0: no cap. repairs: how often a refused edit goes back to the agent.

  isolation: `full` lets it write in its folder alone, and read system folders, Python and its own
  program; `none` leaves the bounds below. network: whether it has any. readable: further paths that
  it may read, such as its configuration. hidden: paths to keep shut inside of what is readable.
  environment: names of variables that it gets, beyond PATH, LANG and TERM; HOME and TMPDIR are
  folders of its own unless they are named here. AUTORESEARCH_SEED is a number to draw by.

  memory_bytes, processes: of the agent and all it starts. file_bytes: of one file. folder_bytes: of
  its folder. transcript_bytes: how much of the end of what it prints is put on record.

  fallback: name of the proposer that proposes when the agent has nothing; '' for none: then five
  failures in a row end the run.
  """

  command: str | tuple[str, ...] = ()
  prompt: Literal['stdin', 'file'] = 'stdin'
  tokens: int = 30000
  seconds: float = 600.0
  dollars_a_call: float = 0.0
  max_calls: int = 0
  max_dollars: float = 0.0
  repairs: int = 1
  isolation: CommandIsolation = 'full'
  network: bool = True
  readable: tuple[str, ...] = ()
  hidden: tuple[str, ...] = ()
  environment: tuple[str, ...] = ()
  memory_bytes: int = 8 * 2**30
  processes: int = 256
  file_bytes: int = 256 * 2**20
  folder_bytes: int = 2 * 2**30
  transcript_bytes: int = 2**16
  fallback: str = 'mutate'
  _fallback: Fallback | None = dataclasses.field(init=False, repr=False, compare=False)
  _isolation: Isolation = dataclasses.field(init=False, repr=False, compare=False)
  _turn: _Turn = dataclasses.field(default_factory=_Turn, init=False, repr=False, compare=False)

  def __post_init__(self) -> None:
    """Raises ValueError, also where the isolation can not be had."""
    try:
      words = self._words
    except ValueError as error:
      raise ValueError(
        f'The option command, {self.command!r}, is not what a shell could read: {error}.'
      ) from None
    if not words:
      raise ValueError("The proposer 'agent' needs the option `command`, such as 'claude -p'.")
    if not command_files.find_program(words[0]):
      raise ValueError(f'There is no program {words[0]!r} to run as an agent; look at command[0].')
    if self.prompt == 'file' and not any('{prompt}' in word for word in words):
      raise ValueError("prompt is 'file', so a word of command must have {prompt} in it.")
    for name in ('tokens', 'seconds', 'memory_bytes', 'processes', 'file_bytes', 'folder_bytes'):
      if not getattr(self, name) > 0:
        raise ValueError(f'{name} is {getattr(self, name)}; it must be above 0.')
    for name in ('dollars_a_call', 'max_calls', 'max_dollars', 'repairs', 'transcript_bytes'):
      if not getattr(self, name) >= 0:
        raise ValueError(f'{name} is {getattr(self, name)}; it must not be below 0.')
    if self.max_dollars and not self.dollars_a_call:
      raise ValueError(
        'max_dollars is set and dollars_a_call is 0, so no call would count; say what one costs.'
      )
    if unset := [name for name in self.environment if name not in os.environ]:
      raise ValueError(f'The variable {unset[0]} that option environment names is not set.')
    object.__setattr__(self, '_fallback', Fallback.of(self.fallback, 'agent'))
    try:
      object.__setattr__(self, '_isolation', command_policy.check(self.isolation))
    except SandboxError as error:
      raise ValueError(str(error)) from error

  @property
  def name(self) -> str:
    """What the agent is called on record."""
    return pathlib.PurePath(self._words[0]).name

  @property
  def title(self) -> str:
    """Who is called and how well it is shut in, for the first line of the run."""
    shut = self.isolation == 'full'
    then = f', then {self.fallback}' if self.fallback else ''
    how = f'shut in by {self._isolation.detail}' if shut else 'NOT shut in: isolation is none'
    offline = '' if self.network else ', without network'
    return f'agent: {self.name}, {how}{offline}, {self._caps.title}{then}'

  @property
  def _caps(self) -> Caps:
    return Caps(calls=self.max_calls, dollars=self.max_dollars)

  def propose(self, proposal: Proposal, context: ProposalContext, rng: np.random.Generator) -> Edit:
    """The agent's edit, or the fallback's. Raises NothingToPropose."""
    try:
      return self._proposed(proposal, context, rng)
    except NothingToPropose as nothing:
      if self._fallback is None or self._turn.closed:
        raise
      return self._fallback.propose(str(nothing), proposal, context, rng)

  def close(self) -> None:
    """Ends an agent that runs; there will be no other."""
    self._turn.close()
    if self._fallback is not None:
      self._fallback.close()

  @property
  def _words(self) -> tuple[str, ...]:
    return tuple(shlex.split(self.command) if isinstance(self.command, str) else self.command)

  def _proposed(
    self, proposal: Proposal, context: ProposalContext, rng: np.random.Generator
  ) -> Edit:
    self._afford(context)
    redaction = Redaction({name: os.environ.get(name, '') for name in self.environment})
    seed, refusal = int(rng.integers(2**31)), ''
    with self._worktree(context) as tree:
      for _ in range(self.repairs + 1):
        text = _task(proposal, context, refusal, self.tokens)
        self._call(tree, text, seed, context, redaction)
        try:
          return self._edit(tree, context, redaction)
        except Refused as refused:
          refusal = redaction.text(str(refused))
        self._afford(context, f'{refusal} It was not sent back. ')
    raise NothingToPropose(f'The edit of the agent {self.name} was refused: {refusal}')

  @contextlib.contextmanager
  def _worktree(self, context: ProposalContext) -> Iterator[Worktree]:
    try:
      tree = Worktree(context.scratch, context.parents[0])
    except (OSError, pygit2.GitError, ValueError) as error:
      raise NothingToPropose(f'The folder for the agent could not be made: {error}.') from None
    try:
      yield tree
    finally:
      tree.remove()

  def _afford(self, context: ProposalContext, before: str = '') -> None:
    """Raises NothingToPropose when another call is beyond the caps."""
    one = Spend(calls=1, dollars=self.dollars_a_call)
    if refusal := self._caps.refusal(context.spend(), one):
      raise NothingToPropose(f'{before}{refusal}')

  def _call(
    self, tree: Worktree, text: str, seed: int, context: ProposalContext, redaction: Redaction
  ) -> None:
    """Runs the agent once, on record. Raises NothingToPropose when it does not end well."""
    sent = Exchange(
      id=secrets.token_hex(8),
      model=self.name,
      purpose='agent',
      state='sent',
      request=text,
      dollars=self.dollars_a_call,
    )
    if self._turn.closed:
      raise NothingToPropose('The run is being stopped, so no agent was started.')
    tree.prompt.write_text(text, encoding='utf-8')
    plan = self._plan(tree, seed, context, redaction)
    context.record(sent)
    ending = self._turn.run(plan)
    said = redaction.transcript(ending.output, self.transcript_bytes, ending.truncated)
    error = self._failure(ending, said)
    context.record(
      dataclasses.replace(
        sent,
        state='failed' if error else 'answered',
        response=said,
        error=error,
        seconds=round(ending.seconds, 3),
        dollars=0.0 if ending.ended_by == 'not_started' else self.dollars_a_call,
      )
    )
    if error:
      raise NothingToPropose(error)

  def _plan(
    self, tree: Worktree, seed: int, context: ProposalContext, redaction: Redaction
  ) -> CommandSpec:
    given = {'{prompt}': str(tree.prompt), '{folder}': str(tree.program)}
    words = []
    for word in self._words:
      for placeholder, path in given.items():
        word = word.replace(placeholder, path)
      words.append(word)
    words[0] = command_files.find_program(words[0]) or words[0]
    return CommandSpec(
      command=tuple(words),
      folder=str(tree.program),
      writable=str(tree.folder),
      stdin=str(tree.prompt) if self.prompt == 'stdin' else os.devnull,
      environment={
        **{name: os.environ[name] for name in PASSED if name in os.environ},
        'HOME': str(tree.home),
        'TMPDIR': str(tree.temporary),
        'GIT_CONFIG_NOSYSTEM': '1',
        'AUTORESEARCH_SEED': str(seed),
        **{name: os.environ[name] for name in self.environment if name in os.environ},
      },
      isolation=self.isolation,
      network=self.network,
      readable=(
        *command_files.required_files(self._words),
        *map(os.path.expanduser, self.readable),
      ),
      hidden=(
        *map(os.path.expanduser, self.hidden),
        *map(str, context.hidden),
        str(cache.directory()),
      ),
      timeout_seconds=self.seconds,
      memory_bytes=self.memory_bytes,
      processes=self.processes,
      file_bytes=self.file_bytes,
      folder_bytes=self.folder_bytes,
      # Where the kept part begins inside a secret, what is before it tells that it does.
      output_bytes=self.transcript_bytes + redaction.longest,
    )

  def _failure(self, ending: CommandResult, said: str) -> str:
    """A sentence when the agent did not end well, else ''."""
    gib = 2**30
    reasons = {
      'not_started': f'could not be started: {one_line(ending.reason, LAST_WORDS)}',
      'lost': f'was lost: {ending.reason}',
      'stopped': 'was ended, for the run is being stopped.',
      'timeout': f'did not end within the {self.seconds:g} s of option seconds and was ended.',
      'memory': (
        f'used more than the {self.memory_bytes / gib:g} GiB of memory of option memory_bytes and '
        'was ended.'
      ),
      'processes': (
        f'had more than the {self.processes} processes of option processes and was ended.'
      ),
      'folder': (
        f'filled its folder with more than the {self.folder_bytes / gib:g} GiB of option '
        'folder_bytes, or with more than can be counted, and was ended.'
      ),
    }
    if ending.ended_by in reasons:
      return f'The agent {self.name} {reasons[ending.ended_by]}'
    if ending.exit_code == 0:
      return ''
    code = ending.exit_code or 0
    how = f'with exit status {code}' if code > 0 else f'by signal {-code}'
    last = one_line(said[-LAST_WORDS:]) or 'nothing'
    return f'The agent {self.name} ended {how}; the last it said is: {last!r}.'

  def _edit(self, tree: Worktree, context: ProposalContext, redaction: Redaction) -> Edit:
    """What the agent left, as an edit. Raises Refused; NothingToPropose when nothing changed."""
    parent = context.parents[0]
    program = tree.edited(parent, context.editable)
    if program == parent:
      raise NothingToPropose(
        f'The agent {self.name} changed nothing in the editable files '
        f'({", ".join(context.editable)}).'
      )
    before = dict(parent.files)
    for name, text in program.files:
      variable = redaction.found(text)
      if variable and not redaction.found(before.get(name, '')):
        raise Refused(f'{name} has the value of the environment variable {variable} in it.')
    if program.digest in context.tried:
      raise Refused('This very program was tried before; try something else.')
    if reason := context.check(program):
      raise Refused(reason)
    return _told(tree, parent, program, context, redaction, self.name)


def _task(proposal: Proposal, context: ProposalContext, refusal: str, tokens: int) -> str:
  """The prompt; refusal: why the last edit of the agent was not taken, '' for none."""
  before = filled(
    'agent',
    editable=', '.join(f'`{formatting.name_of(name)}`' for name in context.editable),
    contract=contract(context),
    **formatting.prediction(context.objective),
  )
  again = Section(
    'Your last edit was refused',
    'The files are as you left them. Mend what the reason names, and keep your idea where it can '
    'stand.',
    (Item(clean(refusal)[:MAX_REFUSAL], label='the reason'),),
  )
  try:
    prompt = fitted(
      before,
      Sections(proposal, context).all(*([again] if refusal else [])),
      'Left out, since there was no room for it:',
      'Edit the files now.',
      tokens,
    )
  except TooSmall as error:
    raise NothingToPropose(
      f'The program to edit does not fit into the prompt: {error}; raise the option tokens of the '
      'proposer, or make the program shorter.'
    ) from None
  return f'{prompt.system}\n\n{prompt.user}\n'


def _told(
  tree: Worktree,
  parent: Program,
  program: Program,
  context: ProposalContext,
  redaction: Redaction,
  author: str,
) -> Edit:
  """The edit with what the agent says of it; where it says nothing, with what the diff shows."""
  told, changed = _hypothesis(tree), _changes(parent, program)
  description = one_line(redaction.text(told.description), DESCRIPTION) or changed
  claim = one_line(redaction.text(told.claim), CLAIM).rstrip('.')
  if not claim:
    claim = f'The agent gave no hypothesis; by the difference, it changed {changed}'
  tags = [one_line(redaction.text(tag), TAG) for tag in told.mechanisms[:MAX_TAGS]]
  effect = _finite(told.predicted_change)
  if effect is not None and context.objective.direction == 'minimize':
    effect = -effect
  uncertainty = _finite(told.uncertainty)
  if uncertainty is not None and uncertainty < 0:
    uncertainty = None
  hypothesis = Hypothesis(f'{claim}.', tuple(filter(None, tags)), effect, uncertainty)
  return Edit(program, description, hypothesis, author=author)


def _hypothesis(tree: Worktree) -> _AgentHypothesis:
  """What the agent left in `hypothesis.json`; nothing where that can not be read."""
  try:
    return msgspec.json.decode(tree.text(HYPOTHESIS, LARGEST_HYPOTHESIS), type=_AgentHypothesis)
  except (Refused, msgspec.DecodeError, RecursionError):
    return _AgentHypothesis()


def _finite(value: float | None) -> float | None:
  return value if value is not None and math.isfinite(value) else None


def _changes(parent: Program, program: Program) -> str:
  """What differs, on one line: constants by name, else how many lines of which file."""
  before, parts = dict(parent.files), []
  for name, text in program.files:
    if (old := before.get(name, '')) == text:
      continue
    was, now = _constants(old), _constants(text)
    moved = [f'{key} {was[key]} -> {now[key]}' for key in was if was[key] != now.get(key, was[key])]
    lines = len(set(text.splitlines()).symmetric_difference(old.splitlines()))
    parts.append(', '.join(moved) or f'{max(lines, 1)} lines of {name}')
  return one_line('; '.join(parts), DESCRIPTION)


def _constants(text: str) -> dict[str, str]:
  """Source of the values of the ALL_CAPS names at a file's top level."""
  return {c.name: one_line(c.code, TAG) for c in assignments(text) if not c.nested}
