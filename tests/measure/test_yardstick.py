"""`autoresearch measure yardstick`: recordings on disk, what they refuse, and a small real one."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from autoresearch_jax.config import ConfigError, from_config_dict, load
from autoresearch_jax.measure.row_recording import (
  RecordedProgram,
  RecordedRun,
  RecordingError,
  RecordingFolder,
  drawn_programs,
  require_rows,
)
from autoresearch_jax.measure.yardstick_report import report
from autoresearch_jax.programs.start import starting_program
from autoresearch_jax.types import Dataset

CONFIG = from_config_dict(load('digits'))
DATASET = Dataset('supervised', test='test', fingerprint='data')
ROWS, PROGRAMS = 40, 8


def opened(folder, config=CONFIG, dataset=DATASET):
  start = starting_program(config)
  texts = [f'{start.text()}\n# {number}\n' for number in range(PROGRAMS)]
  programs = [RecordedProgram(f'edit {i}', start.with_text(text)) for i, text in enumerate(texts)]
  return RecordingFolder.opened(folder, config, dataset, lambda: programs)


def add(recording, program, budget, seed, progress=(0.5, 1.0)):
  """Adds a training whose loss is its program's number / 10, and noise."""
  rng = np.random.default_rng((program, int(100 * budget), seed))
  losses = 1 + program / 10 + 0.05 * rng.normal() + 0.01 * rng.normal(size=(len(progress), ROWS))
  parts = {'targets': np.ones(ROWS), 'bytes': np.zeros(ROWS)}
  np.savez(
    recording.rows_file(program, budget, seed), progress=np.array(progress),
    seconds=np.array(progress), validation=losses, test=losses[-1],
    **{f'{split}_{name}': v for split in ('validation', 'test') for name, v in parts.items()},
  )  # fmt: skip
  recording.add(RecordedRun(program, budget, seed, budget, 0.1, float(losses[-1].mean()), 300))


def test_a_recording_resumes_where_it_was(tmp_path):
  recording = opened(tmp_path)
  left = [program for program, _, seeds in recording.missing([1.0], 8) if len(seeds) == 4]
  assert left == [*range(PROGRAMS), *reversed(range(PROGRAMS))]
  for program in range(PROGRAMS):
    for seed in range(3):
      add(recording, program, 1.0, seed, (0.5, 1.0) if program else (0.25, 0.5, 1.0))
  add(recording, 0, 0.5, 0)
  again = opened(tmp_path)
  assert again.runs == recording.runs
  assert again.missing([1.0], 4) == [(p, 1.0, (3,)) for p in range(PROGRAMS)]
  programs, losses = again.losses()
  assert programs == list(range(PROGRAMS)) and list(losses) == [1.0]
  assert losses[1.0].search.shape == (PROGRAMS, 3, 2, ROWS)
  assert losses[1.0].progress == (0.5, 1.0)
  means = losses[1.0].search[:, :, -1] @ losses[1.0].shares
  assert means[5, 1] == pytest.approx([r.value for r in again.runs if r.program == 5][1])


def test_programs_without_a_score_are_left_out(tmp_path):
  recording = opened(tmp_path)
  for program in range(PROGRAMS):
    add(recording, program, 1.0, 0)
  recording.add(RecordedRun(2, 1.0, 1, reason='The training loss was nan.'))
  with (tmp_path / 'runs.jsonl').open('ab') as file:
    file.write(b'{"program":3,"bud')  # of a process that was killed
  again = opened(tmp_path)
  assert again.runs == recording.runs
  programs, losses = again.losses()
  assert 2 not in programs and len(losses[1.0].search) == PROGRAMS - 1
  assert {program for program, *_ in again.missing([1.0], 2)} == {*range(PROGRAMS)} - {2}
  again.add(RecordedRun(3, 1.0, 1, value=0.2))
  assert opened(tmp_path).runs == again.runs


def test_another_setting_and_damage_are_refused(tmp_path):
  recording = opened(tmp_path)
  with pytest.raises(RecordingError, match='--to'):
    opened(tmp_path, dataclasses.replace(CONFIG, budget=CONFIG.budget.scaled(2)))
  with pytest.raises(RecordingError, match='--to'):
    opened(tmp_path, dataset=dataclasses.replace(DATASET, fingerprint='other'))
  for program in range(PROGRAMS):
    add(recording, program, 1.0, 0)
  recording.rows_file(0, 1.0, 0).write_bytes(b'no archive')
  with pytest.raises(RecordingError, match='0_1_0'):
    recording.losses()
  (tmp_path / 'recording.json').write_text('{')
  with pytest.raises(RecordingError, match='damaged'):
    opened(tmp_path)


def test_metrics_that_are_no_means_over_rows_are_refused():
  require_rows(CONFIG, DATASET)
  for config, dataset in (
    (dataclasses.replace(CONFIG, metric='val_accuracy'), DATASET),
    (CONFIG, Dataset('construction')),
    (CONFIG, dataclasses.replace(DATASET, test='')),
  ):
    with pytest.raises(ConfigError, match='val_loss'):
      require_rows(config, dataset)


def test_the_report_names_the_field_to_set(tmp_path):
  recording = opened(tmp_path)
  assert '4 seeds' in report(recording, CONFIG, 0)
  for seed in range(8):
    for program in range(PROGRAMS):
      add(recording, program, 1.0, seed)
      add(recording, program, 0.25, seed)
  text = report(recording, CONFIG, 2)
  assert 'Set budget.amount=75' in text and 'Accepted' in text
  assert '| the metric after the budget |' in text
  assert '8 programs, 8 seeds' in text
  assert 'Over 2 splits' in text


def test_the_drawn_programs_are_the_same_every_time():
  first, second = drawn_programs(CONFIG, 6), drawn_programs(CONFIG, 6)
  assert first == second and first[0].program == starting_program(CONFIG)
  assert len({each.program.digest for each in first}) == 6


@pytest.mark.slow
def test_a_small_recording_by_the_command(tmp_path):
  line = [
    sys.executable, '-m', 'autoresearch_jax', 'measure', 'yardstick', '--config=digits',
    f'--to={tmp_path}', '--programs=4', '--seeds=4', '--budgets=1', '--splits=0',
    '--config.budget.amount=100',
  ]  # fmt: skip
  stopped = subprocess.run([*line, '--minutes=0'], capture_output=True, text=True, check=True)
  assert '16 trainings are left; the same command goes on' in stopped.stderr
  ended = subprocess.run(line, capture_output=True, text=True, check=False)
  assert ended.returncode == 0 or 'differ significantly' in ended.stderr
  assert len(list((tmp_path / 'rows').glob('*.npz'))) == 16
  other = [*line, '--config.budget.amount=50']
  refused = subprocess.run(other, capture_output=True, text=True, check=False)
  assert refused.returncode == 2 and '--to' in refused.stderr
