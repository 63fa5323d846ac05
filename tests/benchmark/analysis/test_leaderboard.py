"""The page: every number with its interval, nothing left out in silence, whole as HTML."""

import dataclasses
import html.parser
import itertools
import re

import numpy as np
import pytest
from helpers.onemax import OneMax

from autoresearch_jax.benchmark import Entrant, ProblemSpec
from autoresearch_jax.benchmark.analysis import document, leaderboard, plots, standings
from autoresearch_jax.benchmark.analysis.statistics import Estimate
from autoresearch_jax.benchmark.comparison import Comparison, Suite
from autoresearch_jax.benchmark.regret import RegretCurve

pytestmark = pytest.mark.slow

SEEDS = tuple(range(1000, 1012))
SUITE = Suite(
  'Strategies',
  (ProblemSpec('p', 'onemax', {}, 'binary'), ProblemSpec('q', 'onemax', {'bits': 9}, 'other')),
  tuple(Entrant(name, 'greedy') for name in ('good', 'random', 'same', 'bad', 'sampler')),
  SEEDS,
  10,
)
REACHED = {'good': 0.2, 'random': 0.5, 'same': 0.5, 'bad': 0.9, 'sampler': 0.1}


@pytest.fixture(scope='module')
def made():
  return comparison()


def comparison(suite=SUITE):
  """Runs as they would be if each method got as far as REACHED says, give or take a little."""
  able = {name: ('p', 'q') if name != 'sampler' else ('p',) for name in REACHED}
  template = suite.spec('good', suite.problems[0], 1000).run(OneMax().instance(0), {'numpy': '2'})
  runs = {
    (method, problem, seed): _run(template, method, problem, seed)
    for method, problems in able.items()
    for problem in problems
    for seed in suite.seeds
  }
  return Comparison(suite, runs, able)


def _run(template, method, problem, seed):
  """The seed's luck is the same for all but `same`, who has it where random has none."""
  luck = 0.01 * (-1) ** seed * (1 if method != 'same' else -1)
  end = REACHED[method] + luck * (1 + seed % 3)
  values = dict.fromkeys(('final', 'area_runs', 'area_seconds', 'area_calls'), end)
  made = {**vars(template), **values, 'problem': problem, 'strategy': method,
          'instance_seed': seed,
          'curve': RegretCurve((0, 5), (0, 9), (0, 3), (1, end))}  # fmt: skip
  return type(template)(**made)


def test_rows_are_ranked_and_told_apart(made):
  whole, shared = standings.standings(made, ('p', 'q'))
  assert whole.problems == ('p', 'q') and shared.problems == ('p',)
  assert whole.methods[0] == 'good' and whole.methods[-1] == 'bad'
  assert shared.methods[0] == 'sampler' and len(shared.methods) == 5
  verdicts = {row.method: row.tests['random'].verdict for row in whole.rows if row.tests}
  assert verdicts == {'good': 'better', 'same': 'not distinguishable', 'bad': 'worse'}
  good = whole.rows[0]
  assert good.tests['random'].improvement == Estimate(1.0, 1.0, 1.0)
  assert good.estimates['final'].low < good.estimates['final'].value < 0.22


def test_the_matrix_and_its_mirror_add_up_to_one(made):
  whole, _ = standings.standings(made, ('p', 'q'))
  matrix = whole.matrix()
  off = ~np.eye(len(matrix), dtype=bool)
  assert np.allclose((matrix + matrix.T)[off], 1.0)
  assert whole.is_significant('good', 'bad') and not whole.is_significant('random', 'same')


def test_what_runs_met_is_counted(made):
  averages = standings.run_averages(
    [
      _with(made, statuses={'ok': 6, 'duplicate': 1, 'oom': 3}, kept=4, false_keeps=1, calls=9),
      _with(made, statuses={'ok': 10}, kept=0, false_keeps=0, calls=3),
    ]
  )
  assert averages == standings.RunAverages(averages.seconds, 6, 0.15, 0.05, 2, 0.25)
  assert standings.run_averages([_with(made, kept=0, false_keeps=0)]).false is None


def _with(made, **changed):
  return type(run)(**{**vars(run), **changed}) if (run := made.runs_of('good', 'p')[0]) else None


def test_the_markdown_page(made, tmp_path):
  page = leaderboard.write([made], tmp_path / 'page.md', 'python -m it').read_text()
  assert 'python -m it' in page and '1000 to 1011' in page and 'held out' in page
  assert 'Versions: numpy 2.' in page and '108 runs' in page
  assert 'sampler has no runs on q' in page
  assert 'Overall: 2 problems, without sampler' in page and 'With sampler: 1 problem' in page
  for heading in ('Group binary: p', 'Group other: q'):
    assert heading in page
  row = next(line for line in page.splitlines() if line.startswith('| good'))
  assert re.search(r'0\.\d{3} \[0\.\d{3}, 0\.\d{3}\]', row)
  assert '1.00 [1.00, 1.00] better' in row
  pictures = re.findall(r'!\[.*\]\((.*)\)', page)
  assert len(pictures) == 2 * 2 + 2
  for picture in pictures:
    assert (tmp_path / picture).read_bytes().startswith(b'\x89PNG')


class Parsed(html.parser.HTMLParser):
  """Checks that tags close in order, and collects what is in them."""

  def __init__(self, text):
    super().__init__()
    self.open, self.tags, self.text, self.sources = [], [], '', []
    self.feed(text)
    self.close()
    assert self.open == []

  def handle_starttag(self, tag, attrs):
    self.tags.append(tag)
    self.sources += [value for name, value in attrs if name in ('src', 'href')]
    if tag not in ('meta', 'img'):
      self.open.append(tag)

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    self.text += data


def test_the_html_page_needs_no_other_file_and_is_the_same_each_time(made, tmp_path):
  text = leaderboard.write([made], tmp_path / 'page.html').read_text()
  assert leaderboard.write([made], tmp_path / 'page.html').read_text() == text
  parsed = Parsed(text)
  assert parsed.tags.count('table') == 1 + 2 + 2  # problems, overall twice, two groups
  assert len(parsed.sources) == 6
  assert all(source.startswith('data:image/png;base64,') for source in parsed.sources)
  assert 'not distinguishable' in parsed.text
  assert list(tmp_path.iterdir()) == [tmp_path / 'page.html']


def test_a_label_is_text_and_no_markup():
  name = '<script>alert(1)</script> & "x" | *y* [z](w) `v`'
  blocks = [document.Heading(name, 1), document.Table((name, ''), ((name, '1'),)),
            document.Figure('f', name, name, b'')]  # fmt: skip
  parsed = Parsed(document.as_html(blocks))
  assert 'script' not in parsed.tags and parsed.text.count(name) == 5
  markdown = document.as_markdown(blocks)
  assert '<script' not in markdown.replace('\\<script', '')
  rows = [line for line in markdown.splitlines() if line.startswith('| ') and 'alert' in line]
  assert [len(re.findall(r'(?<!\\)\|', line)) for line in rows] == [3, 3]


def test_columns_of_text_stand_to_the_left():
  table = document.Table(('problem', 'group', 'n'), (('p', 'g', '1'),), texts=2)
  assert '| --- | --- | ---: |' in document.as_markdown([table])
  text = document.as_html([table])
  assert '<td class="text">g</td><td>1</td>' in text
  assert '<th class="text">group</th><th>n</th>' in text


def crowd(alike=()):
  """Twelve methods, of which `alike` do what the first does, on one problem each."""
  names = tuple(f'entrant_{n:02}' for n in range(12))
  suite = dataclasses.replace(
    SUITE, entrants=tuple(Entrant(name, 'greedy') for name in (*names, 'random'))
  )
  template = suite.spec('random', suite.problems[0], 1000).run(OneMax().instance(0), {})
  runs = {}
  for (n, name), problem, seed in itertools.product(
    enumerate([*names, 'random']), ('p', 'q'), SEEDS
  ):
    end = 0.1 + 0.05 * (0 if name in alike else n) + 0.001 * (seed - SEEDS[0])
    curve = RegretCurve((0, 5), (0, 9), (0, 3), (1, end))
    runs[name, problem, seed] = dataclasses.replace(
      template, problem=problem, strategy=name, instance_seed=seed, curve=curve, final=end,
      area_runs=end,
    )  # fmt: skip
  return Comparison(suite, runs, dict.fromkeys((*names, 'random'), ('p', 'q')))


def test_among_many_only_references_and_the_best_are_in_front():
  tables = standings.standings(crowd(), ('p', 'q'))
  front = plots.highlighted(tables)
  assert set(front) == {'random', *(f'entrant_{n:02}' for n in range(plots.NUM_BEST))}
  page = document.as_markdown(leaderboard.blocks([crowd()]))
  grey = ', '.join(f'entrant_{n:02}' for n in range(plots.NUM_BEST, 12))
  assert page.count(f'In gray: {grey}.') == 1 + 2  # the profiles, and each group's curves


def test_few_entrants_are_all_in_front(made):
  assert set(plots.highlighted(standings.standings(made, ('p', 'q')))) == set(REACHED)
  assert 'In gray' not in document.as_markdown(leaderboard.blocks([made]))


def test_a_line_looks_the_same_in_all_figures_of_a_page(made, monkeypatch):
  """The sampler, second to last by name, is in some tables alone."""
  drawn = []
  draw = plots._line

  def recorded(axes, x, y, look=None, band=None):
    drawn.append((look['color'], look.get('ls')))
    return draw(axes, x, y, look, band)

  monkeypatch.setattr(plots, '_line', recorded)
  looks = {str((look['color'], look['ls'])) for look in plots.line_styles(made).values()}
  for table in standings.standings(made, ('p', 'q')):
    drawn.clear()
    plots.profiles(table)
    expected = [plots.line_styles(made)[method]['color'] for method in table.methods]
    assert [str(colour) for colour, _ in drawn] == [str(colour) for colour in expected]
  assert len(looks) == len(REACHED)


def test_those_in_front_have_colours_of_their_own():
  made = crowd()
  looks = plots.line_styles(made)
  front = plots.highlighted(standings.standings(made, ('p', 'q')))
  assert len({str(looks[method]['color']) for method in front}) == len(front)


def test_entrants_that_did_the_same_are_named():
  page = document.as_markdown(leaderboard.blocks([crowd(('entrant_03', 'entrant_07'))]))
  same = 'entrant_00, entrant_03 and entrant_07 behaved identically in every run on'
  assert page.count(f'{same} p.') == page.count(f'{same} q.') == 1
  assert 'behaved identically' not in document.as_markdown(leaderboard.blocks([crowd()]))


def test_what_is_not_quite_held_out_is_said(made):
  shared = ProblemSpec('table', 'recorded', {'noise': 0.0}, 'other')
  suite = dataclasses.replace(SUITE, problems=(SUITE.problems[0], shared))
  words = 'table: all seeds, including those for tuning, share one recorded surface'
  assert words in leaderboard.describe_origin([Comparison(suite, made.runs, made.runnable)])
  assert 'share one' not in leaderboard.describe_origin([made])


@pytest.mark.parametrize(('seeds', 'said'), [(3, True), (4, False)])
def test_an_interquartile_mean_of_few_runs_is_said_to_be_the_mean(seeds, said):
  few = comparison(dataclasses.replace(SUITE, seeds=SEEDS[:seeds]))
  assert ('the interquartile mean is the mean' in leaderboard.describe_origin([few])) is said


def test_one_seed_has_a_dash_and_no_interval_and_zero_no_sign():
  assert leaderboard._interval(Estimate(0.25, np.nan, np.nan), 2) == '0.25 —'
  assert leaderboard._interval(Estimate(-1e-9, -0.0, 0.5), 2) == '0.00 [0.00, 0.50]'
  page = leaderboard.tables(comparison(dataclasses.replace(SUITE, seeds=SEEDS[:1])))
  assert '—' in page and 'nan' not in page and '[' not in page.replace('\\[', '')


def test_tables_of_one_group(made):
  assert 'Over q.' in leaderboard.tables(made, 'other') and 'Over p' not in leaderboard.tables(
    made, 'other'
  )
  with pytest.raises(ValueError, match="no group 'odd'; there are: binary, other"):
    leaderboard.tables(made, 'odd')


@pytest.mark.parametrize(
  ('seeds', 'words'), [((3, 4), 'for tuning'), ((3, 1004), 'not for reports')]
)
def test_seeds_that_are_not_held_out_are_said_to_be(seeds, words):
  page = leaderboard.blocks([comparison(dataclasses.replace(SUITE, seeds=seeds))])
  assert words in document.as_markdown(page)
