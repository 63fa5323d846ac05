"""A submission is verified by simulating its runs again; what was changed is found."""

import dataclasses
import json

import pytest
from helpers import onemax  # noqa: F401 - registers a simulation

from autoresearch_jax import benchmark
from autoresearch_jax.benchmark.submission import Submission, SubmissionError, verify
from autoresearch_jax.cli.benchmark import main


@pytest.fixture(scope='module')
def submitted(tmp_path_factory):
  folder = tmp_path_factory.mktemp('submitted')
  benchmark.compare(
    [('greedy', {'context_size': 2}), 'random'], [('onemax', {'bits': 8})], seeds=3, trials=20,
    workers=1, out=folder,
  )  # fmt: skip
  to = folder / 'random.json'
  assert main(['submit', f'--out={folder}', '--strategy=random', f'--to={to}']) == 0
  return to


def test_a_submission_holds(submitted, capsys):
  assert main(['verify', str(submitted), '--runs=2']) == 0
  assert 'The claim holds: 2 of 3 runs of random' in capsys.readouterr().out
  assert Submission.read(submitted).sources == {}  # random is the library's


def test_a_changed_number_is_found(submitted, tmp_path, capsys):
  true = Submission.read(submitted)
  better = dataclasses.replace(true.runs[1], final=0.0)
  false = dataclasses.replace(true, runs=[true.runs[0], better, true.runs[2]])
  false.write(tmp_path / 'false.json')
  assert main(['verify', str(tmp_path / 'false.json'), '--runs=0']) == 1
  out = capsys.readouterr().out
  assert 'seed 1001: final is' in out and 'The claim does not hold: 3 of 3' in out
  old = dataclasses.replace(true, runs=[dataclasses.replace(true.runs[0], strategy_code='x')])
  (problem,) = verify(old, 0).problems
  assert "The strategy 'random' has other code" in problem


def test_a_file_that_was_edited_or_is_none(submitted, tmp_path, capsys):
  data = json.loads(submitted.read_text())
  data['submission']['runs'][0]['final'] = 0.0
  edited = tmp_path / 'edited.json'
  edited.write_text(json.dumps(data))
  with pytest.raises(SubmissionError, match='changed after it was made'):
    Submission.read(edited)
  edited.write_text('{}')
  assert main(['verify', str(edited)]) == 2
  assert main(['verify', str(tmp_path / 'nothing.json')]) == 2
  assert main(['submit', f'--out={tmp_path}']) == 2
  assert main(['submit', f'--out={submitted.parent}', '--strategy=tree']) == 2
  said = capsys.readouterr().err
  assert 'is no submission' in said and 'There is no' in said
  assert 'there are: greedy(context_size=2), random' in said
