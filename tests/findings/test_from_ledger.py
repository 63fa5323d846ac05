"""Findings of runs: what they say, and that they are the same whenever they are made."""

import pytest
from helpers import synthetic_run

from autoresearch_jax.findings import stores
from autoresearch_jax.findings.finding import latest
from autoresearch_jax.findings.folder_store import FolderStore
from autoresearch_jax.findings.run_store import RunStore
from autoresearch_jax.findings.store import Package
from autoresearch_jax.ledger.store import read_history
from autoresearch_jax.programs.patches import apply_patch, parse
from autoresearch_jax.types import Status


def test_each_program_with_evidence_is_a_finding_and_so_are_failures(recorded):
  history = read_history(recorded)
  findings = [*stores.read(str(recorded))]
  assert {f.status for f in findings} >= {'gain', 'no_gain', 'failed'}
  kept = {history.edits[n].program.digest for n in history.kept_programs if n}
  assert {f.child.digest for f in findings if f.status == 'gain'} == kept
  failed = [t for t in history.trials.values() if t.result.status in synthetic_run.ENDINGS]
  assert len([f for f in findings if f.status == 'failed']) == len(failed) > 0
  assert not any(f.failure == Status.DUPLICATE or f.is_signed for f in findings)


def test_the_gain_is_the_improvement_over_the_parent(recorded):
  for finding in stores.read(str(recorded)):
    if finding.status != 'failed' and not finding.pairs:
      before, after = (dict(p.values) for p in (finding.parent, finding.child))
      means = [sum(values.values()) / len(values) for values in (before, after)]
      assert finding.gain == pytest.approx(means[0] - means[1])
      assert finding.standard_error is not None and finding.standard_error > 0


def test_the_setting_names_data_code_budget_and_device(recorded):
  (setting,) = {f.setting for f in stores.read(str(recorded))}
  assert (setting.problem, setting.metric, setting.direction) == ('none', 'val_loss', 'minimize')
  assert setting.device == 'an abacus' and setting.budget.unit == 'steps'
  assert all(len(d) == 64 for d in (setting.data, setting.scorer, setting.harness))


def test_the_patch_makes_the_child_of_the_parent(recorded):
  store = stores.opened(str(recorded))
  for finding in stores.read(str(recorded)):
    parent, child = stores.read_programs(str(recorded), finding)
    assert (parent.digest, child.digest) == (finding.parent.digest, finding.child.digest)
    assert apply_patch(parse(finding.patch), parent) == child
  assert store.blob('0' * 64) is None


def test_more_runs_of_a_program_are_a_later_report_on_the_same_comparison(tmp_path):
  reports = {}
  for trials in (8, 16):
    synthetic_run.run(tmp_path, trials, clock=synthetic_run.ticking())
    for finding in stores.read(str(tmp_path)):
      reports.setdefault(finding.comparison, {})[finding.id] = finding
  several = [[*found.values()] for found in reports.values() if len(found) > 1]
  for found in several:
    assert latest(found) == [max(found, key=lambda f: f.child.runs + f.parent.runs)]


def test_traced_programs_in_the_folder_can_be_added(recorded, tmp_path, key):
  (finding, *_) = stores.read(str(recorded))
  folder = recorded / 'scratch' / 'artifacts'
  folder.mkdir(parents=True, exist_ok=True)
  path = folder / f'{finding.child.digest[:32]}-2.0-steps.artifact'
  path.write_bytes(b'traced')
  try:
    package = next(iter(RunStore(recorded).with_artifacts()))
  finally:
    path.unlink()
  ((side, digest),) = package.finding.artifacts
  store = FolderStore(tmp_path / 'store')
  assert store.add([Package(key.sign(package.finding), package.blobs)]).new == 1
  assert side == 'child' and store.blob(digest) == b'traced'
