"""The proposer `agent`: a coding agent, given as a command, edits the program in its own folder.

    config.proposer = 'agent'
    config.proposer_options = {
      'preset': 'claude-code',
      'dollars_per_call': 0.5,
      'max_dollars': 20.0,
    }

`preset` names one of the agents in `presets.py`; `command` runs any other.

Each proposal gets a folder of its own with the program in it (`worktree.py` says why that is not a
git worktree of the run's repository). The agent runs there in a sandbox. Its changes to the
editable files are the edit; changes to other files are dropped, and the claim says so. An edit is
refused if an editable file is no plain text any more, the program was tried before or does not
trace; then it goes back to the agent with the reason, up to `max_repairs` times. An agent that
fails or exceeds a limit makes no edit, whatever it left. `toolbox.py` says what it finds in its
sandbox.

The agent's words are data: only `hypothesis.json` is read for the edit's description. The values of
the environment variables that the agent gets are removed from the transcript and the hypothesis; an
edit that contains one is refused.
"""

import contextlib
import dataclasses
import os
import pathlib
import secrets
import shlex
from collections.abc import Iterator
from typing import ClassVar, Literal

import numpy as np
import pygit2

from autoresearch_jax.config import MAX_SECONDS
from autoresearch_jax.data import cache
from autoresearch_jax.programs.check_task import CheckTask
from autoresearch_jax.proposers.agent.hypothesis_file import edit_with_hypothesis
from autoresearch_jax.proposers.agent.presets import PRESETS, AgentPreset, require_preset
from autoresearch_jax.proposers.agent.report import AgentReport, read_report
from autoresearch_jax.proposers.agent.running import RunningAgent, failure
from autoresearch_jax.proposers.agent.toolbox import (
  require_readable,
  secret_variables,
  seed_home,
  toolbox,
)
from autoresearch_jax.proposers.agent.transcript import Redaction
from autoresearch_jax.proposers.agent.worktree import AgentEditError, AgentWorktree
from autoresearch_jax.proposers.base import (
  PROPOSERS,
  NothingToPropose,
  ProposalContext,
  Proposer,
)
from autoresearch_jax.proposers.fallback import FallbackProposer
from autoresearch_jax.proposers.prompt import agent_prompt
from autoresearch_jax.proposers.spend_limits import SpendLimits
from autoresearch_jax.sandbox import command_files, command_policy
from autoresearch_jax.sandbox.command_spec import CommandIsolation, CommandResult, CommandSpec
from autoresearch_jax.sandbox.linux import SandboxError
from autoresearch_jax.types import Edit, Exchange, Isolation, Proposal, Spend

ALWAYS_PASSED = ('PATH', 'LANG', 'TERM')  # environment variables
MAX_REPORT = 16 * 2**20  # bytes of the output that a report is read from


@PROPOSERS.register('agent')
@dataclasses.dataclass(frozen=True)
class Agent(Proposer):
  """Runs a coding agent.

  Attributes:
    preset: Name of a known agent, see `presets.py`; '' for none. It brings the command, variables
      and the form of the output.
    command: The command, as words or as one string that is split as a shell would. `{prompt}` in a
      word becomes the path of the file with the task, `{folder}` that of the program's folder,
      which is also the working directory. With a preset, '' for its own.
    extra_arguments: Words after the command, such as those that choose a model; likewise.
    prompt_via: How the agent gets the task: on standard input, or as a file named in the command.
    max_prompt_tokens: Maximum length of the task.
    timeout_seconds: Deadline of one call.
    dollars_per_call: What one call is assumed to cost, before it is made, and afterwards if the
      agent does not say.
    token_prices: Dollars per million input tokens and output tokens, for agents that report tokens
      alone.
    max_calls: Maximum number of calls in the run, by all proposers; 0 for no limit.
    max_total_tokens: Maximum number of tokens of the run, by all proposers; 0 for no limit.
    max_dollars: Maximum cost of the run in dollars, by all proposers; 0 for no limit.
    max_repairs: How often a refused edit is sent back to the agent.
    isolation: `full` lets it write in its folder only, and read system folders, Python and its own
      program; `none` applies only the limits below.
    network: Whether it has network access.
    readable_paths: Further paths that it may read, such as its configuration.
    hidden_paths: Paths inside of readable ones that it may not read.
    pass_env: Names of environment variables that it gets, beyond PATH, LANG, TERM and those of
      proxies and certificates, and those of the preset. HOME and TMPDIR are folders of its own
      unless named here. AUTORESEARCH_SEED is a random seed.
    variables: Rows of (name, value): further environment variables. The ledger stores them, so they
      are no place for keys.
    home_files: Files and folders that are copied into its HOME, at their place below yours, such as
      '~/.claude.json'. It can read what they contain, and could write it into its edit.
    max_memory_bytes: Maximum memory of the agent and all processes it starts.
    max_processes: Maximum number of processes.
    max_file_bytes: Maximum size of one file.
    max_folder_bytes: Maximum size of its folder.
    max_transcript_bytes: How much of the end of its output is recorded.
    fallback: Name of the proposer that steps in if the agent has no edit; '' for none. Without one,
      five failures in a row end the run.
  """

  reads_text: ClassVar[bool] = True

  preset: str = ''
  command: str | tuple[str, ...] = ()
  extra_arguments: str | tuple[str, ...] = ()
  prompt_via: Literal['stdin', 'file'] = 'stdin'
  max_prompt_tokens: int = 30000
  timeout_seconds: float = 600.0
  dollars_per_call: float = 0.0
  token_prices: tuple[float, float] = (0.0, 0.0)
  max_calls: int = 0
  max_total_tokens: int = 0
  max_dollars: float = 0.0
  max_repairs: int = 1
  isolation: CommandIsolation = 'full'
  network: bool = True
  readable_paths: tuple[str, ...] = ()
  hidden_paths: tuple[str, ...] = ()
  pass_env: tuple[str, ...] = ()
  variables: tuple[tuple[str, str], ...] = ()
  home_files: tuple[str, ...] = ()
  max_memory_bytes: int = 8 * 2**30
  max_processes: int = 256
  max_file_bytes: int = 256 * 2**20
  max_folder_bytes: int = 2 * 2**30
  max_transcript_bytes: int = 2**16
  fallback: str = 'mutate'
  _fallback: FallbackProposer | None = dataclasses.field(init=False, repr=False, compare=False)
  _isolation: Isolation = dataclasses.field(init=False, repr=False, compare=False)
  _running: RunningAgent = dataclasses.field(
    default_factory=RunningAgent, init=False, repr=False, compare=False
  )

  def __post_init__(self) -> None:
    """Raises ValueError for options that cannot work, or an isolation that is not available."""
    if self.preset:
      require_preset(self.preset, bool(self.command), bool(self.pass_env or self.home_files))
    try:
      words = self._words
    except ValueError as error:
      raise ValueError(
        f'The option command, {self.command!r}, or extra_arguments, {self.extra_arguments!r}, '
        f'cannot be split into words: {error}.'
      ) from None
    if not self._command_words:
      raise ValueError(
        "The proposer 'agent' needs the option `command`, such as 'my-agent --headless', or "
        f'`preset`, one of: {", ".join(PRESETS)}.'
      )
    if not command_files.find_program(words[0]):
      raise ValueError(f'There is no program {words[0]!r} to run as an agent; check the command.')
    if self.prompt_via == 'file' and not any('{prompt}' in word for word in words):
      raise ValueError("prompt_via is 'file', so a word of command must contain {prompt}.")
    self._check_numbers()
    if unset := [name for name in self.pass_env if name not in os.environ]:
      raise ValueError(f'The environment variable {unset[0]} of the option pass_env is not set.')
    require_readable(self.home_files)
    object.__setattr__(self, '_fallback', FallbackProposer.of(self.fallback, 'agent'))
    try:
      object.__setattr__(self, '_isolation', command_policy.check(self.isolation))
    except SandboxError as error:
      raise ValueError(str(error)) from error

  def _check_numbers(self) -> None:
    for name in (
      'max_prompt_tokens', 'timeout_seconds', 'max_memory_bytes', 'max_processes',
      'max_file_bytes', 'max_folder_bytes',
    ):  # fmt: skip
      if not getattr(self, name) > 0:
        raise ValueError(f'{name} is {getattr(self, name)}; it must be above 0.')
    for name in (
      'dollars_per_call', 'max_calls', 'max_total_tokens', 'max_dollars', 'max_repairs',
      'max_transcript_bytes',
    ):  # fmt: skip
      if not getattr(self, name) >= 0:
        raise ValueError(f'{name} is {getattr(self, name)}; it must be 0 or more.')
    if self.timeout_seconds > MAX_SECONDS:
      raise ValueError(
        f'timeout_seconds is {self.timeout_seconds:g}; it must be at most {MAX_SECONDS:g}.'
      )
    if self.max_dollars and not self.dollars_per_call:
      raise ValueError(
        'max_dollars is set but dollars_per_call is 0, so no call would count; set what one costs.'
      )
    if not min(self.token_prices) >= 0:
      raise ValueError(f'token_prices are {self.token_prices}; they must be 0 or more.')

  @property
  def name(self) -> str:
    """Name of the agent in the ledger."""
    return self.preset or pathlib.PurePath(self._words[0]).name

  @property
  def title(self) -> str:
    """The agent, its sandbox, the spend limits and the fallback."""
    then = f', then {self.fallback}' if self.fallback else ''
    sandboxed = self.isolation == 'full'
    how = f'sandboxed by {self._isolation.detail}' if sandboxed else 'NOT sandboxed'
    offline = '' if self.network else ', no network'
    return f'agent: {self.name}, {how}{offline}, {self._limits.title}{then}'

  @property
  def _limits(self) -> SpendLimits:
    return SpendLimits(self.max_calls, self.max_total_tokens, self.max_dollars)

  def propose(self, proposal: Proposal, context: ProposalContext, rng: np.random.Generator) -> Edit:
    """Returns the agent's edit, or the fallback's. Raises NothingToPropose."""
    try:
      return self._edit(proposal, context, rng)
    except NothingToPropose as nothing:
      if self._fallback is None or self._running.closed:
        raise
      return self._fallback.propose(str(nothing), proposal, context, rng)

  def close(self) -> None:
    """Ends the agent and prevents new ones. Safe from any thread."""
    self._running.close()
    if self._fallback is not None:
      self._fallback.close()

  @property
  def _preset(self) -> AgentPreset | None:
    return PRESETS.get(self.preset)

  @property
  def _command_words(self) -> tuple[str, ...]:
    own = _split(self.command)
    return self._preset.command if self._preset and not own else own

  @property
  def _words(self) -> tuple[str, ...]:
    return (*self._command_words, *_split(self.extra_arguments))

  @property
  def _secrets(self) -> dict[str, str]:
    """The variables that it gets from this process and that may hold keys."""
    keys = self._preset.key_variables if self._preset else ()
    return _set((*self.pass_env, *keys))

  def _edit(self, proposal: Proposal, context: ProposalContext, rng: np.random.Generator) -> Edit:
    self._require_budget(context)
    redaction = Redaction({**self._secrets, **secret_variables()})
    seed, refusal = int(rng.integers(2**31)), ''
    with self._worktree(context) as tree:
      for _ in range(self.max_repairs + 1):
        text = agent_prompt(proposal, context, refusal, self.max_prompt_tokens)
        self._call(tree, text, seed, context, redaction)
        try:
          return self._read_edit(tree, context, redaction)
        except AgentEditError as error:
          refusal = redaction.text(str(error))
        self._require_budget(context, f'{refusal} It was not sent back. ')
    raise NothingToPropose(f'The edit of the agent {self.name} was refused: {refusal}')

  @contextlib.contextmanager
  def _worktree(self, context: ProposalContext) -> Iterator[AgentWorktree]:
    try:
      tree = AgentWorktree(context.scratch, context.parents[0])
    except (OSError, pygit2.GitError, ValueError) as error:
      raise NothingToPropose(f'Cannot make the folder for the agent: {error}.') from None
    try:
      self._fill(tree, context)
      yield tree
    finally:
      tree.remove()

  def _fill(self, tree: AgentWorktree, context: ProposalContext) -> None:
    """Writes the files that the agent gets besides the program. Raises NothingToPropose."""
    parent = context.parents[0]
    task = CheckTask(context.spec, parent.entry, tuple(name for name, _ in parent.files))
    try:
      seed_home(tree.home, self.home_files)
      task.write(tree.task)
    except OSError as error:
      raise NothingToPropose(f'Cannot fill the folder for the agent: {error}.') from None

  def _require_budget(self, context: ProposalContext, before: str = '') -> None:
    """Raises NothingToPropose if another call would exceed the limits."""
    cost = Spend(calls=1, dollars=self.dollars_per_call)
    if refusal := self._limits.refusal(context.spend(), cost):
      raise NothingToPropose(f'{before}{refusal}')

  def _call(
    self,
    tree: AgentWorktree,
    text: str,
    seed: int,
    context: ProposalContext,
    redaction: Redaction,
  ) -> None:
    """Runs the agent once, on record. Raises NothingToPropose if it fails."""
    sent = Exchange(
      id=secrets.token_hex(8),
      model=self.name,
      purpose='agent',
      state='sent',
      request=text,
      dollars=self.dollars_per_call,
    )
    if self._running.closed:
      raise NothingToPropose('The run is stopping, so no agent was started.')
    tree.prompt.write_text(text, encoding='utf-8')
    spec = self._command_spec(tree, seed, context, redaction)
    context.record(sent)
    result = self._running.run(spec)
    call = self._read_call(result, redaction)
    error = failure(self.name, spec, result, call.text)
    context.record(
      dataclasses.replace(
        sent,
        state='failed' if error else 'answered',
        response=call.text,
        error=error,
        seconds=round(result.seconds, 3),
        input_tokens=call.cost.input_tokens if call.cost else 0,
        output_tokens=call.cost.output_tokens if call.cost else 0,
        dollars=call.dollars(result, self.dollars_per_call, self.token_prices),
      )
    )
    if error:
      raise NothingToPropose(error)

  def _read_call(self, result: CommandResult, redaction: Redaction) -> AgentReport:
    """Returns what a call said, without secrets, and cost."""
    if preset := self._preset:
      plain = redaction.whole_lines(result.output, result.truncated)
      report = read_report(plain, preset.report_format)
      text = redaction.transcript(report.text.encode(), self.max_transcript_bytes, False)
      return AgentReport(text, report.cost)
    return AgentReport(
      redaction.transcript(result.output, self.max_transcript_bytes, result.truncated)
    )

  def _command_spec(
    self, tree: AgentWorktree, seed: int, context: ProposalContext, redaction: Redaction
  ) -> CommandSpec:
    paths = {'{prompt}': str(tree.prompt), '{folder}': str(tree.program)}
    words = []
    for word in self._words:
      for placeholder, path in paths.items():
        word = word.replace(placeholder, path)
      words.append(word)
    words[0] = command_files.find_program(words[0]) or words[0]
    tools, preset = toolbox(tree.packages, tree.task, self.network), self._preset
    spec = CommandSpec(
      command=tuple(words),
      folder=str(tree.program),
      writable=str(tree.folder),
      stdin=str(tree.prompt) if self.prompt_via == 'stdin' else os.devnull,
      environment={
        **_set(ALWAYS_PASSED),
        **tools.environment,
        'HOME': str(tree.home),
        'TMPDIR': str(tree.temporary),
        'AUTORESEARCH_SEED': str(seed),
        **({**dict(preset.variables), **_set(preset.passed_variables)} if preset else {}),
        **dict(self.variables),
        **self._secrets,
      },
      isolation=self.isolation,
      network=self.network,
      readable=(
        *command_files.required_files(self._words),
        *(command_files.required_files((preset.program,)) if preset else ()),
        *tools.readable,
        *map(os.path.expanduser, self.readable_paths),
      ),
      hidden=(
        *map(os.path.expanduser, self.hidden_paths),
        *map(str, context.hidden),
        str(cache.directory()),
      ),
      timeout_seconds=self.timeout_seconds,
      memory_bytes=self.max_memory_bytes,
      processes=self.max_processes,
      file_bytes=self.max_file_bytes,
      folder_bytes=self.max_folder_bytes,
      # If the kept part begins inside a secret, the extra bytes before it show that it does.
      output_bytes=(MAX_REPORT if preset else self.max_transcript_bytes) + redaction.longest,
    )
    return command_policy.with_own_places(spec, str(tree.temporary))

  def _read_edit(self, tree: AgentWorktree, context: ProposalContext, redaction: Redaction) -> Edit:
    """Returns the edit that the agent left.

    Raises:
      AgentEditError: The edit is refused.
      NothingToPropose: Nothing was changed.
    """
    parent = context.parents[0]
    program = tree.edited(parent, context.editable)
    stray = redaction.text(tree.stray_files(parent, context.editable))
    if program == parent and stray:
      raise AgentEditError(
        f'The agent changed nothing but {stray}, which is ignored; edit {_names(context)}.'
      )
    if program == parent:
      raise NothingToPropose(
        f'The agent {self.name} changed nothing in the editable files ({_names(context)}).'
      )
    dropped = ''
    if other := tree.changed_others(parent, context.editable):
      dropped = f'Changes to {other} were dropped, since only {_names(context)} may change. '
    before = dict(parent.files)
    for name, text in program.files:
      variable = redaction.found(text)
      if variable and not redaction.found(before.get(name, '')):
        raise AgentEditError(f'{name} contains the value of the environment variable {variable}.')
    if program.digest in context.tried:
      raise AgentEditError('Exactly this program was tried before; try something else.')
    if reason := context.check(program):
      raise AgentEditError(f'{dropped}{reason}')
    return edit_with_hypothesis(
      tree, parent, program, context.objective, redaction, self.name, stray
    )


def _split(words: str | tuple[str, ...]) -> tuple[str, ...]:
  """Returns words; a text is split as a shell would. Raises ValueError."""
  return tuple(shlex.split(words) if isinstance(words, str) else words)


def _set(names: tuple[str, ...]) -> dict[str, str]:
  return {name: os.environ[name] for name in names if name in os.environ}


def _names(context: ProposalContext) -> str:
  return ', '.join(context.editable)
