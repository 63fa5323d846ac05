"""The page of a run: its data follows from the ledger, and no text in it becomes markup."""

import base64
import dataclasses
import gzip
import json
import re

import msgspec
import pytest
from helpers.synthetic_run import run, ticking

from autoresearch_jax.cli.report import main, view
from autoresearch_jax.ledger.events import Ablated, Record
from autoresearch_jax.ledger.store import read_records
from autoresearch_jax.report.page import RunProjection
from autoresearch_jax.report.page.html import page
from autoresearch_jax.report.page.view import SCHEMA
from autoresearch_jax.types import Result, Status


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
  directory = tmp_path_factory.mktemp('run')
  return directory, run(directory, 25, clock=ticking()).history


def embedded(text, name='run-data'):
  data = re.search(rf'id="{name}">([^<]*)</script>', text)
  return json.loads(gzip.decompress(base64.b64decode(data[1])))


def test_the_view_agrees_with_the_history(finished):
  directory, history = finished
  found = view(directory)
  assert found.schema == SCHEMA
  assert [trial.id for trial in found.trials] == sorted(history.edits)
  assert found.kept == tuple(history.kept)
  assert (found.critical_value is None) == (found.noise is None)
  for trial in found.trials:
    known = history.trials[trial.id]
    assert trial.decision == known.verdict.decision
    assert trial.value == known.metric('val_loss')
    assert [r.seed for r in trial.runs] == [m.seed for m in known.result.measurements]
    assert trial.began <= trial.ended


def test_an_ablation_after_the_end_leaves_the_search_as_it_was(finished):
  records = read_records(finished[0])
  before = RunProjection.of(records).view()
  event = Ablated('digest', 7, False, Result(0, Status.OK))
  later = Record(len(records), records[-1].time + 1e6, event)
  after = RunProjection.of([*records, later]).view()
  assert before.stopped
  assert (after.stopped, after.sessions) == (before.stopped, before.sessions)


def test_diffs_turn_the_parent_into_the_program(finished):
  directory, history = finished
  for trial in view(directory).trials[1:]:
    before, after = (history.edits[t].program for t in (trial.parent, trial.id))
    old, new = before.text().splitlines(), after.text().splitlines()
    removed = [line[1:] for line in trial.diff.splitlines()[2:] if line.startswith('-')]
    added = [line[1:] for line in trial.diff.splitlines()[2:] if line.startswith('+')]
    assert all(line in old for line in removed)
    assert all(line in new for line in added)
    assert bool(trial.diff) == (before != after)


def test_the_page_has_the_data_and_nothing_from_elsewhere(finished):
  directory, _ = finished
  found = view(directory)
  text = page(found)
  whole, details = embedded(text), embedded(text, 'run-details-0')
  assert not any(trial['diff'] for trial in whole['trials']) and any(
    details[n]['diff'] for n in details
  )
  whole['trials'] = [trial | details[str(trial['id'])] for trial in whole['trials']]
  assert whole == json.loads(msgspec.json.encode(found))
  assert 'http://' not in text.replace('http://www.w3.org/2000/svg', '')
  assert 'https://' not in text
  assert "default-src 'none'" in text


def test_hostile_text_is_data(finished):
  directory, _ = finished
  found = view(directory)
  hostile = '</script><script>alert(1)</script>'
  trial = dataclasses.replace(found.trials[0], description=hostile)
  text = page(dataclasses.replace(found, name=hostile, trials=(trial,)))
  assert hostile not in text
  assert embedded(text)['trials'][0]['description'] == hostile


def test_the_command_writes_the_page_and_prints_json(finished, capsys):
  directory, _ = finished
  assert main([str(directory), '--html']) == 0
  assert 'report.html' in capsys.readouterr().out
  assert embedded((directory / 'report.html').read_text())['name'] == 'synthetic'
  assert main([str(directory), '--json']) == 0
  assert json.loads(capsys.readouterr().out)['schema'] == SCHEMA


def test_a_folder_without_a_run_is_named(tmp_path, capsys):
  assert main([str(tmp_path), '--html']) == 2
  assert str(tmp_path) in capsys.readouterr().err
