"""The flags: every field of a config can be set, whether its file lists it or not."""

import re

import pytest
from absl import flags
from helpers import ROOT

from autoresearch_jax import __main__ as front
from autoresearch_jax.__main__ import COMMANDS
from autoresearch_jax.cli import flags as command
from autoresearch_jax.cli import trial
from autoresearch_jax.config import ConfigError

DIGITS = f'--config={ROOT}/configs/digits.py'
BARE = f'--config={ROOT}/tests/helpers/synthetic_command.py'  # a config that leaves whole parts out


def config(*arguments, file=DIGITS):
  values, line = flags.FlagValues(), ['program', file, *arguments]
  flag = command.define_config('', values, line)
  values(line)
  return command.config_of(flag)


@pytest.mark.parametrize('file', [DIGITS, BARE])
def test_options_that_the_file_does_not_list(file):
  made = config(
    '--config.acceptance_options.baseline_seeds=6',
    '--config.search.options.context_size=10',
    '--config.proposer_options.mood=good',
    '--config.executor_options.delay=0.5',
    '--config.data.shards=20',
    '--config.constants.WIDTH=7',
    '--config.limits.step_seconds=300',
    file=file,
  )
  assert made.acceptance_options['baseline_seeds'] == 6
  assert made.search.options == {'context_size': 10}
  assert made.proposer_options == {'mood': 'good'}
  assert made.executor_options['delay'] == 0.5
  assert made.data['shards'] == 20
  assert made.constants == {'WIDTH': 7}
  assert made.limits.step_seconds == 300.0


def test_options_of_what_auto_stands_for():
  made = config('--config.proposer_options.gemini.max_dollars=2.0')
  assert made.proposer_options == {'gemini': {'max_dollars': 2.0}}
  assert config().proposer_options == config(file=BARE).proposer_options == {}


def test_the_order_of_strategy_and_its_options_is_free():
  one, other = '--config.search.strategy=random', '--config.search.options.x=1'
  assert config(one, other) == config(other, one)


@pytest.mark.parametrize(
  ('flag', 'sentence'),
  [
    ('--config.metrik=x', 'config.metrik is not a field of the config; did you mean config.metric'),
    ('--config.limits.los=1', 'config.limits.los is not a field'),
    ('--config.search.max_trial=1', 'did you mean config.search.max_trials?'),
    ('--config.limits.step_seconds=long', 'config.limits.step_seconds'),
  ],
)
def test_what_is_no_field_is_refused(flag, sentence):
  with pytest.raises(ConfigError, match=re.escape(sentence)):
    config(flag)


@pytest.mark.parametrize(
  'given',
  [
    ('--config=digits', '--config.seed=3', '--noconfig.save_models'),
    ('--config', 'digits', '--config.save_models', '--config.seed', '3'),
    ('--config=digits', '--config.search.target=-1.5', '--config.save_models=True'),
  ],
)
def test_another_command_gets_the_same_config(given):
  line = trial.COMMAND.parse(['folder', *given, '--author=ada'])
  assert list(line.config_arguments) == list(given) and line.operand == 'folder'
  again = trial.COMMAND.parse(line.config_arguments)
  assert again.config.to_dict() == line.config.to_dict()


def named_commands():
  text = (ROOT / 'README.md').read_text() + (ROOT / 'program.md').read_text()
  return sorted(
    set(re.findall(r'\bautoresearch ([a-z][a-z-]+) (?=[-A-Za-z./])', text)) & {*COMMANDS}
  )


def test_the_documents_name_commands_that_exist():
  text = (ROOT / 'program.md').read_text()
  named = set(re.findall(r'^ *(?:`)?autoresearch ([a-z-]+)', text, re.MULTILINE))
  assert named and named <= {*COMMANDS}


@pytest.mark.parametrize('command', named_commands())
def test_every_command_that_the_documents_name_explains_itself(command, capsys):
  assert front.main([command, '--help']) == 0
  assert f'autoresearch {command}' in capsys.readouterr().out
