"""Findings of runs: what they say, and that they are the same whenever they are made."""

import pytest
from helpers import synthetic_run

from autoresearch_jax.findings import stores
from autoresearch_jax.findings.folder_store import FolderStore
from autoresearch_jax.findings.index import Index
from autoresearch_jax.findings.programs import programs_of
from autoresearch_jax.findings.run_store import RunStore
from autoresearch_jax.findings.signing import Key
from autoresearch_jax.findings.store import Package
from autoresearch_jax.ledger.store import read_history
from autoresearch_jax.types import Status


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  folder = tmp_path_factory.mktemp('run')
  synthetic_run.run(folder, 25, clock=synthetic_run.ticking())
  return folder


def test_has_each_program_with_evidence_and_the_failures(run):
  history = read_history(run)
  findings = [*stores.read(str(run))]
  assert {f.status for f in findings} >= {'gain', 'no_gain', 'failed'}
  kept = {history.edits[n].program.digest for n in history.kept_programs if n}
  assert {f.child.digest for f in findings if f.status == 'gain'} == kept
  failed = [t for t in history.trials.values() if t.result.status in synthetic_run.ENDINGS]
  assert len([f for f in findings if f.status == 'failed']) == len(failed) > 0
  assert not any(f.failure == Status.DUPLICATE or f.is_signed for f in findings)


def test_gain_is_the_improvement_over_the_parent(run):
  for finding in stores.read(str(run)):
    if finding.status != 'failed':
      before, after = (dict(p.values) for p in (finding.parent, finding.child))
      means = [sum(values.values()) / len(values) for values in (before, after)]
      if not finding.pairs:
        assert finding.gain == pytest.approx(means[0] - means[1])


def test_can_be_signed_stored_and_read_by_another(run, tmp_path):
  key = Key.load()
  packages = [Package(key.sign(p.finding), p.blobs) for p in RunStore(run).packages()]
  first = FolderStore(tmp_path / 'a', Index(tmp_path / 'i'))
  assert first.add(packages).new == len(packages) == first.add(packages).known
  refused = []
  read = [*first.findings(refused.append)]
  assert sorted(f.id for f in read) == sorted(p.finding.id for p in packages)
  assert not refused and all(f.is_signed for f in read)
  assert [*first.findings(refused.append)] == sorted(read, key=lambda f: f.id)  # from the index
  parent, child = programs_of(read[0], first.blob)
  assert (parent.digest, child.digest) == (read[0].parent.digest, read[0].child.digest)


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
  monkeypatch.setenv('XDG_CONFIG_HOME', str(tmp_path / 'config'))
  monkeypatch.setenv('AUTORESEARCH_JAX_CACHE', str(tmp_path / 'cache'))
