"""How known command-line agents are run: the table behind the option `preset` of `agent`.

Each reads the task on standard input, works without questions, and prints its events as JSON.
docs/coding-agents.md has a recipe for each.
"""

import dataclasses
import os

from autoresearch_jax.proposers.agent.report import ReportFormat
from autoresearch_jax.sandbox import command_files


@dataclasses.dataclass(frozen=True)
class AgentPreset:
  """How a command-line agent is run.

  Attributes:
    program: The program, as it is on PATH.
    command: The words of the command; further arguments may follow.
    install: How to install it.
    report_format: The form of its output.
    key_variables: Environment variables that may hold its API key. Those that are set are passed.
    login: File of a login, which `home_files` may name instead of a key.
    passed_variables: Further environment variables that are passed if they are set.
    variables: Environment variables and their values.
  """

  program: str
  command: tuple[str, ...]
  install: str
  report_format: ReportFormat
  key_variables: tuple[str, ...]
  login: str
  passed_variables: tuple[str, ...] = ()
  variables: tuple[tuple[str, str], ...] = ()


# The sandbox of this proposer replaces the agents' own questions and sandboxes, which cannot be
# entered a second time inside of it.
PRESETS = {
  'claude-code': AgentPreset(
    program='claude',
    command=(
      'claude', '-p', '--dangerously-skip-permissions', '--output-format', 'stream-json',
      '--verbose',
    ),
    install='npm install -g @anthropic-ai/claude-code',
    report_format='claude',
    key_variables=('ANTHROPIC_API_KEY', 'CLAUDE_CODE_OAUTH_TOKEN'),
    login='~/.claude/.credentials.json',
    passed_variables=('ANTHROPIC_BASE_URL', 'ANTHROPIC_MODEL'),
    variables=(
      ('IS_SANDBOX', '1'),  # as root it refuses to skip its questions otherwise
      ('CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC', '1'),
      ('DISABLE_AUTOUPDATER', '1'),
    ),
  ),
  'codex': AgentPreset(
    program='codex',
    command=(
      'codex', 'exec', '--json', '--skip-git-repo-check',
      '--dangerously-bypass-approvals-and-sandbox',
    ),
    install='npm install -g @openai/codex',
    report_format='codex',
    key_variables=('CODEX_API_KEY',),
    login='~/.codex/auth.json',
  ),
  'gemini-cli': AgentPreset(
    program='gemini',
    command=('gemini', '--skip-trust', '--yolo', '--output-format', 'stream-json'),
    install='npm install -g @google/gemini-cli',
    report_format='gemini',
    key_variables=('GEMINI_API_KEY',),
    login='~/.gemini/oauth_creds.json',
    passed_variables=('GOOGLE_GEMINI_BASE_URL', 'GEMINI_MODEL'),
    variables=(('GEMINI_CLI_NO_RELAUNCH', 'true'), ('GEMINI_TELEMETRY_ENABLED', 'false')),
  ),
  'opencode': AgentPreset(
    program='opencode',
    command=('opencode', 'run', '--auto', '--format', 'json'),
    install='npm install -g opencode-ai',
    report_format='opencode',
    key_variables=(
      'ANTHROPIC_API_KEY', 'GEMINI_API_KEY', 'OPENAI_API_KEY', 'OPENCODE_API_KEY',
      'OPENROUTER_API_KEY',
    ),
    login='~/.local/share/opencode/auth.json',
    variables=(
      ('OPENCODE_DISABLE_AUTOUPDATE', '1'),
      ('OPENCODE_DISABLE_LSP_DOWNLOAD', '1'),
      ('OPENCODE_DISABLE_MODELS_FETCH', '1'),
    ),
  ),
  'pi': AgentPreset(
    program='pi',
    # The events `message_update` repeat the whole answer for each piece of it.
    command=(
      'bash', '-o', 'pipefail', '-c',
      """pi -p --mode json --no-session "$@" | grep -v '"type":"message_update"'""", 'pi',
    ),
    install='npm install -g @mariozechner/pi-coding-agent',
    report_format='pi',
    key_variables=(
      'ANTHROPIC_API_KEY', 'GEMINI_API_KEY', 'OPENAI_API_KEY', 'OPENROUTER_API_KEY',
    ),
    login='~/.pi/agent/auth.json',
    variables=(('PI_OFFLINE', '1'), ('PI_TELEMETRY', '0')),
  ),
}  # fmt: skip


def require_preset(name: str, has_command: bool, has_login: bool) -> None:
  """Raises ValueError for a preset that cannot run.

  Args:
    name: Its name.
    has_command: Whether its command is replaced.
    has_login: Whether files or variables are passed that may hold its login.
  """
  preset = PRESETS.get(name)
  if preset is None:
    raise ValueError(f'There is no preset {name!r}; there are: {", ".join(PRESETS)}.')
  if not has_command and not command_files.find_program(preset.program):
    raise ValueError(
      f'The preset {name!r} needs the program {preset.program!r}, which is not on PATH. Install '
      f'it: {preset.install}'
    )
  if not has_login and not any(os.environ.get(key) for key in preset.key_variables):
    raise ValueError(
      f'The preset {name!r} needs an API key: set {" or ".join(preset.key_variables)}. Or give it '
      f'a login by home_files, such as {preset.login!r}.'
    )
