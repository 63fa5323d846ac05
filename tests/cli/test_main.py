"""The front door of the command line: what a person types first, and what they mistype."""

import subprocess
import sys

import pytest
from absl import flags as absl_flags
from helpers import ROOT

from autoresearch_jax import __main__ as front
from autoresearch_jax.cli.command import Command, Option
from autoresearch_jax.config import Config, load, shipped

OLD_MODULES = [
  'main', 'trial', 'report', 'knowledge', 'repair', 'benchmark', 'data.prepare', 'problems.start',
  'problems.simulated.recorded',
]  # fmt: skip


def test_the_help_lists_every_command(capsys):
  assert front.main(['--help']) == 0
  text = capsys.readouterr().out
  assert all(f'  {name} ' in text for name in front.COMMANDS)
  assert front.main([]) == 0 and capsys.readouterr().out == text


@pytest.mark.parametrize('name', front.COMMANDS)
def test_every_command_explains_itself(name, capsys):
  assert front.main([name, '--help']) == 0
  text = capsys.readouterr().out
  assert text.startswith(f'Usage: autoresearch {name}')
  for part in ('Options:', 'Examples:', 'Exit codes:', '--help'):
    assert part in text
  assert max(map(len, text.splitlines())) <= 100
  assert 'absl' not in text
  assert front.main(['help', name]) == 0 and capsys.readouterr().out == text


@pytest.mark.parametrize('name', front.COMMANDS)
def test_the_list_repeats_the_commands_own_summaries(name):
  module = __import__(f'autoresearch_jax.cli.{name.replace("-", "_")}', fromlist=['COMMAND'])
  assert (module.COMMAND.name, module.COMMAND.summary) == (name, front.COMMANDS[name])


def test_the_help_of_run_has_every_field_of_a_config(capsys):
  front.main(['run', '--help'])
  text = capsys.readouterr().out
  for name in Config.__dataclass_fields__:
    assert any(line.startswith(f'  {name}') for line in text.splitlines()), name
  assert 'search.max_trials' in text and 'limits.trace_seconds' in text


def test_the_help_shows_the_values_and_options_of_a_config(capsys):
  front.main(['run', '--config.search.strategy=tree', '--help', '--config=digits'])
  text = capsys.readouterr().out
  assert "Options of the strategy 'tree'" in text and 'search.options.' in text
  assert '[digits_steps]' in text and '[tree]' in text


@pytest.mark.parametrize(
  ('arguments', 'sentence'),
  [
    (['rnu'], 'did you mean run?'),
    (['play'], 'there are: run, report'),
    (['run', '--wrkdir=x'], 'did you mean --workdir?'),
    (['run', 'digits'], 'did you mean --config=digits?'),
    (['run', '--config=dgits'], 'Did you mean digits?'),
    (['run', '--config=digits:abacus'], "no variant 'abacus'"),
    (['run'], 'for instance --config=digits'),
    (['trial', '--config=digits', '--seed=-1'], 'seed'),
    (['start', '--config=digits'], '--out=my_program'),
    (['report'], '`autoresearch report WORKDIR`'),
    (['report', 'a', 'b'], "'b'"),
    (['report', '/nowhere'], 'no ledger'),
    (['audit'], '`autoresearch audit WORKDIR`'),
    (['audit', '/nowhere'], 'no ledger'),
    (['audit', 'a', 'b', '--seeds=2'], 'name one WORKDIR'),
    (['prepare', '--shards=many'], 'shards'),
    (['prepare', '--shard=1'], 'did you mean --shards?'),
  ],
)
def test_what_does_not_fit_is_one_sentence_and_exit_code_2(arguments, sentence, capsys):
  assert front.main(arguments) == 2
  captured = capsys.readouterr()
  assert sentence in captured.err and not captured.out
  assert len(captured.err.strip().splitlines()) == 1


def test_the_order_of_config_and_overrides_is_free(tmp_path, capsys):
  out = tmp_path / 'program'
  arguments = ['--config.constants.WIDTH=32', f'--out={out}', '--config', 'digits']
  assert front.main(['start', *arguments]) == 0
  assert capsys.readouterr().out == f'{out}/model.py\n'
  assert 'WIDTH = 32' in (out / 'model.py').read_text()


def test_shipped_configs_are_found_from_any_folder(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  presets = {'gpt2_124m', 'nanochat', 'nanogpt_char', 'speedrun'}
  assert set(shipped()) == {
    'benchmark',
    'digits',
    'gpt_small',
    'kernel',
    'meta',
    'packing',
    *presets,
  }
  assert load('digits:seconds').budget.unit == 'seconds'
  assert load('configs/digits.py:seconds') == load('digits:seconds')
  assert load(f'{ROOT}/configs/digits.py') == load('digits')


def test_a_file_of_ones_own(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'mine.py').write_text(
    'from autoresearch_jax.config import load\n'
    'def get_config(variant="x"):\n'
    '  c = load("digits").unlock()\n'
    '  c.name = variant\n'
    '  return c\n'
  )
  assert (load('mine.py').name, load('mine.py:y').name) == ('x', 'y')


@pytest.mark.parametrize(
  ('text', 'said'),
  [
    ('', 'get_config'),
    ('def get_config():\n  return 1\n', 'not int'),
    ('def get_config():\n  return nothing\n', r"wrong\.py, line 2: NameError: .*'nothing'"),
    ('\ndef get_config(:\n', r'wrong\.py, line 2: SyntaxError'),
    ('import no_such_module\n', r'wrong\.py, line 1: .*no_such_module'),
    ('def get_config():\n  raise SystemExit(7)\n', r'wrong\.py, line 2: SystemExit'),
    ('def get_config():\n  return int("x")\n', r'invalid literal.*wrong\.py, line 2'),
    ('\0', r'wrong\.py: SyntaxError'),
  ],
)
def test_a_file_that_fails_is_told_with_its_line(tmp_path, text, said):
  (tmp_path / 'wrong.py').write_text(text)
  with pytest.raises(ValueError, match=said):
    load(str(tmp_path / 'wrong.py'))


@pytest.mark.parametrize('module', OLD_MODULES)
def test_the_commands_of_earlier_readmes_are_still_there(module):
  done = subprocess.run(
    [sys.executable, '-m', f'autoresearch_jax.{module}', '--help'],
    capture_output=True, text=True, timeout=120, check=False,
  )  # fmt: skip
  assert done.returncode == 0 and not done.stderr
  assert done.stdout.startswith('Usage: autoresearch ')


def test_commands_define_no_global_flags():
  before = set(absl_flags.FLAGS)
  command = Command('x', 'X.', 'X.', (Option('width', 'Wide.', 3), Option('deep', 'Deep.', False)))
  line = command.parse(['--width=4', '--deep'])
  assert (line['width'], line['deep'], command.parse([])['width']) == (4, True, 3)
  assert set(absl_flags.FLAGS) == before


def test_help_is_quick_and_imports_no_jax():
  code = (
    'import sys\n'
    'from autoresearch_jax.__main__ import main\n'
    'main(["--help"])\n'
    'assert "absl" not in sys.modules and "numpy" not in sys.modules\n'
    'main(["run", "--help"])\n'
    'assert "jax" not in sys.modules\n'
  )
  subprocess.run([sys.executable, '-c', code], check=True, capture_output=True)


def test_a_repair_imports_nothing_that_draws():
  code = (
    'import sys\n'
    'import autoresearch_jax.cli.repair\n'
    'assert not {"matplotlib", "pandas", "jax"} & {*sys.modules}\n'
  )
  subprocess.run([sys.executable, '-c', code], check=True, capture_output=True)
