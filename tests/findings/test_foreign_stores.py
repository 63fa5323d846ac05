"""The original's results.tsv with its repository, and one-line results: read, unsigned."""

import json
import subprocess

import pytest

from autoresearch_jax.findings import stores
from autoresearch_jax.findings.finding import FindingError

HEADER = 'commit\tval_bpb\tmemory_gb\tstatus\tdescription\n'


@pytest.fixture
def original(tmp_path):
  """A folder as the original leaves it: the kept and the discarded edits are commits."""
  folder, rows = tmp_path / 'original', []
  git = ['git', '-C', str(folder), '-c', 'user.name=me', '-c', 'user.email=me@here']
  subprocess.run(['git', 'init', '-q', str(folder)], check=True)
  outcomes = [
    ('0.998', 'keep', 'baseline'), ('0.990', 'keep', 'LR = 2'), ('0.995', 'discard', 'LR = 3'),
    ('0.000', 'crash', 'LR = 1e9'),
  ]  # fmt: skip
  for number, (value, status, what) in enumerate(outcomes):
    (folder / 'train.py').write_text(f'LR = 1\n# {number} {what}\n')
    subprocess.run([*git, 'add', 'train.py'], check=True)
    subprocess.run([*git, 'commit', '-qm', what], check=True)
    head = subprocess.check_output([*git, 'rev-parse', '--short', 'HEAD'], text=True).strip()
    rows.append(f'{head}\t{value}\t44.0\t{status}\t{what}\n')
    if status != 'keep':
      subprocess.run([*git, 'reset', '-q', '--hard', 'HEAD~1'], check=True)
  (folder / 'results.tsv').write_text(HEADER + ''.join(rows))
  return folder


def test_the_originals_results_with_the_programs_of_its_repository(original):
  findings = [*stores.read(str(original))]
  assert [(f.status, f.description) for f in findings] == [
    ('gain', 'LR = 2'), ('no_gain', 'LR = 3'), ('failed', 'LR = 1e9'),
  ]  # fmt: skip
  assert [f.gain for f in findings] == [pytest.approx(0.008), pytest.approx(-0.005), None]
  assert not any(f.is_signed or f.standard_error for f in findings)
  parent, child = stores.read_programs(str(original), findings[1])
  assert 'LR = 2' in parent.text() and 'LR = 3' in child.text()
  assert findings[2].failure == 'crash' and '+# 3' in findings[2].patch


def test_a_table_alone_has_no_programs_and_its_odd_rows_are_named(tmp_path):
  path = tmp_path / 'results.tsv'
  good = 'a1b2c3d\t0.99\t1.0\tkeep\tbase\na1b2c3e\t0.98\t1.0\tkeep\tbetter\n'
  path.write_text(HEADER + good + 'only\ttwo\n' + 'x\tnan\t1\tkeep\tx\nx\t1e99\t1\tkeep\tx\n')
  said = []
  (finding,) = stores.read(str(path), said.append)
  assert finding.gain == pytest.approx(0.01) and len(said) == 3
  with pytest.raises(FindingError, match='no programs'):
    stores.read_programs(str(path), finding)


def test_kept_values_that_rise_are_maximised(tmp_path):
  path = tmp_path / 'results.tsv'
  rows = ''.join(f'a{n}b2c3d\t0.{n}\t1.0\tkeep\tstep {n}\n' for n in (3, 4, 5))
  path.write_text(HEADER.replace('val_bpb', 'quality') + rows)
  findings = [*stores.read(str(path))]
  assert {f.setting.direction for f in findings} == {'maximize'}
  assert all(f.gain == pytest.approx(0.1) for f in findings)


@pytest.mark.parametrize('form', ['text', 'json', 'lines'])
def test_one_line_results_have_a_value_and_no_gain(tmp_path, form):
  lines = [
    'commit:a1b2c3d platform:H100 val_bpb:0.9932 vram_gb:44.2 | a higher rate',
    'commit:a1b2c3e platform:A100 val_bpb:1.0132 vram_gb:41.0 | DISCARD: a \x1b[2Jwider model',
    'hello everybody',
  ]
  path = tmp_path / {'text': 'r.txt', 'json': 'r.json', 'lines': 'r.jsonl'}[form]
  posts = [{'content': line, 'id': n} for n, line in enumerate(lines)]
  path.write_text({
    'text': '\n'.join(lines), 'json': json.dumps(posts),
    'lines': '\n'.join(map(json.dumps, posts)),
  }[form])  # fmt: skip
  said = []
  first, second = stores.read(str(path), said.append)
  assert (first.setting.device, first.child.values) == ('H100', ((0, 0.9932),))
  assert (first.status, second.status, first.gain) == ('undecided', 'no_gain', None)
  assert len(said) == 1 and not first.is_signed


def test_other_tables_are_refused(tmp_path):
  path = tmp_path / 'other.tsv'
  path.write_text('a\tb\n1\t2\n')
  with pytest.raises(FindingError, match='memory_gb'):
    [*stores.read(str(path))]
