"""`autoresearch finalize`: a branch or patches, with one commit for each edit that was kept."""

import re
import subprocess

import pytest

import autoresearch_jax as ar
from autoresearch_jax import config as configs
from autoresearch_jax.__main__ import main
from autoresearch_jax.programs.start import PROGRAMS

pytestmark = pytest.mark.slow
BRANCH = 'autoresearch/digits_steps'
SLOW_RATE, RATES = 0.00005, ('0.001', '0.005')


def git(folder, *arguments):
  ended = subprocess.run(
    ['git', '-c', 'user.name=Ada', '-c', 'user.email=ada@example.org', *arguments],
    cwd=folder, check=True, capture_output=True, text=True,
  )  # fmt: skip
  return ended.stdout


def state(folder):
  """Working tree, current commit and index."""
  commands = ('status', 'rev-parse HEAD', 'diff', 'diff --cached')
  return [git(folder, *command.split()) for command in commands]


@pytest.fixture(scope='module')
def mine(tmp_path_factory):
  """A researcher's repository, with her program in a folder of it."""
  folder = tmp_path_factory.mktemp('mine')
  git(folder, 'init', '-q', '-b', 'main')
  (folder / 'net').mkdir()
  (folder / 'net' / 'model.py').write_text((PROGRAMS / 'mlp' / 'model.py').read_text())
  (folder / 'notes.txt').write_text('Try a larger learning rate.\n')
  git(folder, 'config', 'user.name', 'Ada')
  git(folder, 'config', 'user.email', 'ada@example.org')
  git(folder, 'add', '.')
  git(folder, 'commit', '-q', '-m', 'My network')
  return folder


@pytest.fixture(scope='module')
def workdir(mine, tmp_path_factory):
  """A run on it whose two edits help beyond doubt, and a third that is not kept."""
  folder = tmp_path_factory.mktemp('run')
  ideas = folder / 'ideas'
  ideas.mkdir()
  before = str(SLOW_RATE)
  steps = [*RATES, '1e-09']
  for number, rate in enumerate(steps, 1):
    (ideas / f'{number}.patch').write_text(
      f'Set LEARNING_RATE to {rate}\n\nIt was <too> small.\n\nMechanisms: learning rate\n'
      '--- a/model.py\n+++ b/model.py\n@@ -1,3 +1,3 @@\n'
      ' # Optimizer: AdamW (arXiv 1711.05101).\n'
      f'-LEARNING_RATE = {before}\n+LEARNING_RATE = {rate}\n'
      ' ADAM_BETAS = (0.9, 0.999)\n'
    )
    before = rate
  made = configs.load('digits')
  made.unlock()
  made.constants.LEARNING_RATE = SLOW_RATE
  ar.run(
    made, folder / 'run', max_trials=4, program=str(mine / 'net'), proposer='replay',
    acceptance='strict', acceptance_options={'baseline_seeds': 1}, final_seeds=2,
    proposer_options={'source': str(ideas)}, say=lambda line: None, **{'budget.amount': 60},
  )  # fmt: skip
  return folder / 'run'


def test_the_run_kept_two_edits(workdir):
  assert ar.load_run(workdir).history.kept == [0, 1, 2]


def test_a_branch_has_a_commit_for_each_kept_edit_and_nothing_else_changes(
  workdir, mine, tmp_path, capsys
):
  (mine / 'net' / 'model.py').write_text('half-written\n')
  (mine / 'new.txt').write_text('')
  git(mine, 'add', 'new.txt')
  before = state(mine)
  assert main(['finalize', str(workdir)]) == 0
  out = capsys.readouterr().out
  assert BRANCH in out and 'uncommitted changes' in out
  assert state(mine) == before
  log = git(mine, 'log', '--format=%an|%s', f'main..{BRANCH}').splitlines()
  assert log == [
    'Ada|Set LEARNING_RATE to 0.005', 'Ada|Set LEARNING_RATE to 0.001',
    'Ada|Set the constants of the experiment',
  ]  # fmt: skip
  message = git(mine, 'log', '-1', '--format=%B', BRANCH)
  assert 'It was <too> small.' in message and 'Trial: 2' in message
  assert re.search(r'Measured: val_loss \d.\d+ -> \d.\d+, a gain of \+\d.\d+', message)
  assert 'test split' in ' '.join(message.split())
  assert max(map(len, message.splitlines())) <= 72
  assert git(mine, 'diff', '--stat', 'main', BRANCH).count('|') == 1  # her program alone
  best = ar.load_run(workdir).incumbent_program()
  assert git(mine, 'show', f'{BRANCH}:net/model.py') == best.text()
  # Every commit traces by itself.
  for commit in git(mine, 'rev-list', f'main..{BRANCH}').split():
    folder = tmp_path / commit
    folder.mkdir()
    (folder / 'model.py').write_text(git(mine, 'show', f'{commit}:net/model.py'))
    assert main(['check', str(folder), '--config=digits']) == 0
  assert main(['finalize', str(workdir)]) == 2
  assert f'branch {BRANCH} exists' in capsys.readouterr().err
  git(mine, 'branch', '-D', BRANCH)
  git(mine, 'reset', '-q', '--hard')


def test_patches_apply_to_her_repository(workdir, mine, tmp_path, capsys):
  assert main(['finalize', str(workdir), f'--to={tmp_path / "patches"}']) == 0
  patches = sorted((tmp_path / 'patches').iterdir())
  assert len(patches) == 3 and all(str(path) in capsys.readouterr().out for path in patches[:1])
  clone = tmp_path / 'clone'
  git(tmp_path, 'clone', '-q', str(mine), str(clone))
  git(clone, 'am', '-q', *map(str, patches))
  best = ar.load_run(workdir).incumbent_program()
  assert (clone / 'net' / 'model.py').read_text() == best.text()
  assert main(['finalize', str(workdir), f'--to={tmp_path / "patches"}']) == 2
  assert 'not an empty folder' in capsys.readouterr().err


def test_a_program_that_went_on_gets_a_branch_from_where_it_was(workdir, mine, capsys):
  first = git(mine, 'rev-parse', 'HEAD').strip()
  text = (mine / 'net' / 'model.py').read_text()
  (mine / 'net' / 'model.py').write_text(text.replace('DEPTH = 2', 'DEPTH = 3'))
  git(mine, 'commit', '-q', '-a', '-m', 'Deeper')
  assert main(['finalize', str(workdir), '--branch=results']) == 0
  assert first[:10] in capsys.readouterr().out
  assert git(mine, 'merge-base', 'main', 'results').strip() == first
  git(mine, 'branch', '-D', 'results')
  git(mine, 'reset', '-q', '--hard', first)


def test_ablation_drops_nothing_that_is_needed(workdir, mine, capsys):
  assert main(['finalize', str(workdir), '--ablate', '--seeds=2', '--branch=ablated']) == 0
  out = capsys.readouterr().out
  assert 'Ablation: ' in out and 'Without trial 2' in out
  assert 'cannot be removed by itself' in out  # trial 1, whose line trial 2 changes again
  best = ar.load_run(workdir).incumbent_program()
  assert git(mine, 'show', 'ablated:net/model.py') == best.text()
  git(mine, 'branch', '-D', 'ablated')
  # Its training runs are on record, so a second time trains nothing, and the run still resumes.
  assert main(['finalize', str(workdir), '--ablate', '--seeds=2', '--branch=ablated']) == 0
  assert 'Ablation: ' not in capsys.readouterr().out
  git(mine, 'branch', '-D', 'ablated')
  assert len(ar.load_run(workdir).trials) == 4


@pytest.mark.parametrize(
  ('arguments', 'words'),
  [
    (['--branch=bad..name'], 'no valid name'),
    (['--branch=main/x'], 'main/x'),
    (['--program=/no/such/folder'], 'not a folder'),
    (['--seeds=1'], 'seeds'),
  ],
)
def test_what_cannot_be_written_is_a_sentence(workdir, arguments, words, capsys):
  assert main(['finalize', str(workdir), *arguments]) == 2
  err = capsys.readouterr().err
  assert words in err and 'Traceback' not in err


def test_a_folder_outside_of_git_or_without_the_program_is_a_sentence(
  workdir, mine, tmp_path, capsys
):
  (tmp_path / 'model.py').write_text((mine / 'net' / 'model.py').read_text())
  assert main(['finalize', str(workdir), f'--program={tmp_path}']) == 2
  assert 'not in a git repository' in capsys.readouterr().err
  git(tmp_path, 'init', '-q')
  assert main(['finalize', str(workdir), f'--program={tmp_path}']) == 2
  assert 'no commit yet' in capsys.readouterr().err
  (tmp_path / 'model.py').write_text('DEPTH = 9\n')
  git(tmp_path, 'add', '.')
  git(tmp_path, 'commit', '-q', '-m', 'Another')
  assert main(['finalize', str(workdir), f'--program={tmp_path}']) == 2
  assert 'as it was when the run started' in capsys.readouterr().err


def test_a_packaged_program_and_a_run_without_a_keep_are_sentences(tmp_path, capsys):
  ar.run(
    'digits', tmp_path / 'run', max_trials=1, final_seeds=0, say=lambda line: None,
    save_models=False, **{'budget.amount': 5, 'acceptance_options.baseline_seeds': 2},
  )  # fmt: skip
  assert main(['finalize', str(tmp_path / 'run')]) == 2
  assert 'No edit was kept' in capsys.readouterr().err
