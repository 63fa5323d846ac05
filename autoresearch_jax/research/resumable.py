"""Which fields of a config may change when a run is resumed, and how two configs differ.

A field may change if earlier trials mean the same afterwards: how long the run lasts, who writes
the edits and at what price, and limits that protect the machine. All other fields decide what a
score means, or what the replay of the ledger decides, and may not change.
"""

import dataclasses
import fnmatch
from typing import Any

import msgspec

from autoresearch_jax.config import Config

# Pattern of a field's path -> why it may change. The first pattern that fits decides.
MAY_CHANGE: dict[str, str] = {
  'config.final_seeds': 'decides how the run ends',
  'config.findings*': 'decides which edits of others are yet to be tried',
  'config.hooks*': 'decides who is told',
  'config.trackers*': 'decides who is told',
  'config.tracker_options*': 'decides who is told',
  'config.canaries*': 'they are judged apart from all other trials',
  'config.data.path': 'the fingerprint of the data is that of their content',
  'config.mirror': 'decides where copies go',
  'config.on_new_hardware': 'decides what a resume on other devices does',
  'config.save_models': 'decides which files are written',
  'config.search.max_trials': 'decides when the run ends',
  'config.search.max_hours': 'decides when the run ends',
  'config.search.max_dollars': 'decides when the run ends',
  'config.search.dollars_per_hour': 'decides when the run ends',
  'config.search.target': 'decides when the run ends',
  'config.search.patience': 'decides when the run ends',
  'config.search.after_patience': 'decides when the run ends',
  'config.search.prefetch': 'decides how early the next edits are written',
  'config.proposer': 'writes edits that are yet to come',
  # Of gemini and openai: models, prices, roles, max_calls, max_total_tokens, max_dollars,
  # max_output_tokens, max_prompt_tokens, timeout_seconds, attempts, initial_delay, max_repairs,
  # lessons_interval, base_url, fallback, omitted_sections. Of agent: preset, command, prompt_via,
  # max_calls, max_total_tokens, max_dollars, dollars_per_call, token_prices, timeout_seconds,
  # isolation, pass_env, variables, max_memory_bytes and so on. Of auto: those of its parts.
  # Of mutate, replay, placebo and other distributions: all, for the same reason.
  'config.proposer_options.*': 'options of the proposer',
  'config.executor_options.checkpoint_seconds': 'decides how often long trainings are saved',
  'config.executor_options.compile_ahead': 'decides when programs are compiled',
  'config.executor_options.hosts*': 'decides which machines take part',
  'config.executor_options.command': 'decides how machines are reached',
  'config.executor_options.python': 'decides how machines are reached',
  'config.executor_options.address': 'decides how machines are reached',
  'config.executor_options.resource': 'decides which machines take part',
  'config.executor_options.require_token': 'protects the machines',
  'config.executor_options.remote_folder': 'decides where scratch files are',
  'config.executor_options.patience_seconds': 'decides how long to wait for machines',
  'config.limits.isolation': 'protects the machine from a trace',
  'config.limits.trace_*': 'limit of a trace',
  'config.limits.artifact_bytes': 'limit of a trace',
  'config.limits.constant_bytes': 'limit of a trace',
  'config.limits.custom_kernels': 'limit of a trace',
  'config.limits.compile_seconds': 'timeout',
  'config.limits.step_seconds': 'timeout',
  'config.limits.predict_seconds': 'timeout',
  'config.limits.run_seconds': 'timeout',
}
ADVICE = (
  'Within a run, only these may change: config.search.max_trials and the other ends of the '
  'search (max_hours, max_dollars, target, patience and so on), config.final_seeds, '
  'config.search.prefetch, config.canaries, config.findings, config.hooks, config.trackers, '
  'config.mirror, config.on_new_hardware, config.save_models, the proposer and its options, which '
  'machines take part and how they are reached, and timeouts and limits of a trace. Restore the '
  'old value, or use another --workdir.'
)


@dataclasses.dataclass(frozen=True)
class Change:
  """A field that differs between the recorded config and the present one.

  Attributes:
    path: The field, such as 'config.seed'.
    before: Its recorded value; 'absent' for an option that was not set.
    after: Its present value, or 'absent'.
  """

  path: str
  before: Any
  after: Any

  def __str__(self) -> str:
    return f'{self.path} is {self.after!r} and was {self.before!r}'

  @property
  def allowed(self) -> bool:
    """Whether the field may change within a run."""
    return any(fnmatch.fnmatchcase(self.path, pattern) for pattern in MAY_CHANGE)


def changes(recorded: Config, now: Config) -> tuple[Change, ...]:
  """Returns all fields that differ, by path."""
  before, after = (_flat('config', plain(config)) for config in (recorded, now))
  return tuple(
    Change(path, before.get(path, 'absent'), after.get(path, 'absent'))
    for path in sorted({*before, *after})
    if before.get(path) != after.get(path)
  )


def plain(config: Config) -> dict[str, Any]:
  """Returns all fields as they read back from JSON: tuples as lists, keys as strings.

  msgspec alone would omit the defaults of a decoded config.
  """
  return msgspec.json.decode(msgspec.json.encode(dataclasses.asdict(config)))


def _flat(path: str, value: Any) -> dict[str, Any]:
  if isinstance(value, dict):
    return {p: v for key in value for p, v in _flat(f'{path}.{key}', value[key]).items()}
  return {path: value}
