"""The command prints what a real ledger has taught."""

import dataclasses
import json
import subprocess
import sys

import pytest
from helpers.synthetic_run import Arithmetic, Nudge, config, run

from autoresearch_jax.acceptance.sequential import SequentialTest
from autoresearch_jax.cli import report
from autoresearch_jax.cli.knowledge import main
from autoresearch_jax.ledger.events import Learned, Started
from autoresearch_jax.ledger.store import Ledger
from autoresearch_jax.types import Lesson, to_builtins

HOSTILE = 'a [bold]pen[/bold]\x1b[2J\n and $paper$'


class Author(Nudge):
  """Nudges by two authors that write what they should not."""

  def propose(self, proposal, context, rng):
    edit = super().propose(proposal, context, rng)
    author = f'model-{rng.integers(2)}'
    return dataclasses.replace(edit, description=HOSTILE, author=author, role='critic')


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  directory = tmp_path_factory.mktemp('run')
  run(directory, 60, acceptance=SequentialTest(), proposer=Author())
  return directory


def test_a_run_tells_what_it_learned(workdir, capsys):
  assert main([str(workdir)]) == 0
  told = capsys.readouterr().out
  for part in (
    'synthetic (proposer mutate, strategy greedy): ',
    'Most surprising results',
    '- Lowering Y hurt: ',
    'model-0',
    'critic',
    'What never works',
    'It went ',
    'Intervals of 80% held ',
    f'Plot: {workdir / "calibration.png"}',
  ):
    assert part in told
  assert '[bold]pen' in told
  assert '\x1b' not in told
  assert (workdir / 'calibration.png').is_file()


def test_lessons_that_a_model_wrote_are_among_them(tmp_path, capsys):
  run(tmp_path, 20)
  with Ledger.open(tmp_path / 'ledger.db') as ledger:
    ledger.append(Learned((Lesson('Stop raising X.', (3, 4), author='model-1'),)))
  assert main([str(tmp_path)]) == 0
  assert '- Stop raising X. (2 trials: 3, 4) [model-1]' in capsys.readouterr().out


def test_a_plot_that_cannot_be_written_is_no_reason_to_be_silent(workdir, capsys):
  (workdir / 'calibration.png').unlink(missing_ok=True)
  (workdir / 'calibration.png').mkdir()
  try:
    assert main([str(workdir)]) == 0
  finally:
    (workdir / 'calibration.png').rmdir()
  told = capsys.readouterr().out
  assert 'Lessons' in told
  assert 'Cannot write the plot to ' in told
  assert not (workdir / '.calibration.png.new').exists()


def test_a_run_without_edits_is_told_too(tmp_path, capsys):
  run(tmp_path, 1, executor=Arithmetic())
  assert main([str(tmp_path)]) == 0
  told = capsys.readouterr().out
  assert ': 0 edits, 0 with a measured effect, 0 kept.' in told


@pytest.mark.parametrize('arguments', [[], ['a', 'b'], ['--what']])
def test_a_wrong_call_is_told_how(arguments, capsys):
  assert main(arguments) == 2
  assert '`autoresearch knowledge' in capsys.readouterr().err


def test_what_is_no_run_is_one_sentence(tmp_path, capsys):
  assert main([str(tmp_path / 'none')]) == 2
  (tmp_path / 'ledger.db').write_text('not a ledger at all, but text')
  assert main([str(tmp_path)]) == 2
  empty = tmp_path / 'empty'
  empty.mkdir()
  Ledger.open(empty / 'ledger.db').close()
  assert main([str(empty)]) == 2
  errors = capsys.readouterr().err.splitlines()
  assert len(errors) == 3
  assert all(error.endswith('.') for error in errors)


@pytest.mark.parametrize('command', [main, report.main])
def test_a_run_of_another_version_is_one_sentence(tmp_path, capsys, command):
  with Ledger.open(tmp_path / 'ledger.db') as ledger:
    ledger.append(Started({'name': 7}, 'tag'))
  assert command([str(tmp_path)]) == 2
  assert 'This version cannot read the config' in capsys.readouterr().err


def test_a_run_that_has_only_begun_is_read(tmp_path, capsys):
  with Ledger.open(tmp_path / 'ledger.db') as ledger:
    ledger.append(Started(to_builtins(config()), 'tag'))
  assert main([str(tmp_path)]) == 0
  assert ' 0 edits' in capsys.readouterr().out


@pytest.mark.slow
def test_it_is_a_command(workdir):
  done = subprocess.run(
    [sys.executable, '-m', 'autoresearch_jax.knowledge', str(workdir)],
    capture_output=True, text=True, check=False,
  )  # fmt: skip
  assert done.returncode == 0
  assert not done.stderr
  assert 'Lessons' in done.stdout


def test_the_json_has_what_the_report_has(workdir, capsys):
  assert main([str(workdir), '--json']) == 0
  told = json.loads(capsys.readouterr().out)
  assert (told['schema'], told['metric']) == (1, 'val_loss')
  assert {h['trial'] for h in told['hypotheses']} <= {*range(60)}
  assert told['hypotheses'][0]['description'] == HOSTILE
  assert told['lessons'] and told['calibrations'] and told['noise'] > 0
