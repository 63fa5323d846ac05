"""The studies of language models, for a tiny setting, against a scripted model."""

import os
import re
import subprocess
import sys

import pytest
from helpers import ROOT

from autoresearch_jax.ledger.store import read_history
from autoresearch_jax.testing import loopback_model as loopback

ABLATION = ROOT / 'scripts/studies/models/prompt_ablation.py'


def ablation(*arguments, **environment):
  command = [sys.executable, str(ABLATION), '--config=digits', *arguments]
  keyless = {n: v for n, v in os.environ.items() if not n.endswith('_API_KEY')}
  return subprocess.run(
    command, env={**keyless, **environment}, capture_output=True, text=True, check=False
  )


def test_the_plan_of_the_ablation_needs_no_key_and_says_what_it_may_cost(tmp_path):
  done = ablation(
    '--config.proposer=gemini', '--dry_run', '--proposals=20', '--sections=lessons,best',
    '--max_dollars=0.5', f'--workdir={tmp_path / "runs"}',
  )  # fmt: skip
  assert done.returncode == 0, done.stderr
  assert '3 runs of 20 proposals' in done.stdout and 'lessons, best' in done.stdout
  assert '$0.50 each, $1.50 together' in done.stdout
  assert not (tmp_path / 'runs').exists()


@pytest.mark.parametrize(
  ('arguments', 'word'),
  [
    (('--config.proposer=mutate',), 'asks no model'),
    (('--config.proposer=gemini', '--sections=lesson'), "no optional section 'lesson'"),
  ],
)
def test_wrong_input_of_the_ablation_is_refused(arguments, word):
  done = ablation(*arguments, '--dry_run')
  assert done.returncode == 2 and word in done.stderr


def widen(request):
  """Sets a constant to another value each time, by the seed of the request."""
  old = re.search(r'^WIDTH = \d+', loopback.turn_texts(request)[0], re.MULTILINE)
  if old is None:  # it is asked for lessons
    return loopback.answer('{"lessons": []}')
  seed = loopback.settings(request)['seed']
  return loopback.answer(loopback.edit(old[0], f'WIDTH = {seed % 64 + 16}'))


@pytest.mark.slow
def test_the_ablation_leaves_out_a_section_and_goes_on_where_it_was(tmp_path):
  with loopback.serving(widen) as server:
    arguments = (
      '--config.proposer=gemini', f'--config.proposer_options.base_url={server.url}',
      '--config.budget.amount=20', '--proposals=2', '--sections=best', f'--workdir={tmp_path}',
    )  # fmt: skip
    environment = {'GEMINI_API_KEY': loopback.KEY, 'NO_PROXY': '127.0.0.1'}
    done = ablation(*arguments, **environment)
    assert done.returncode == 0, done.stderr
    requests = len(server.requests)
    again = ablation(*arguments, **environment)
    assert len(server.requests) == requests, 'it ran again what was done'
  rows = re.findall(r'^\| (nothing|best) \| 2 \| (\d+)% .*\| (\d+)% ', done.stdout, re.MULTILINE)
  assert [name for name, *_ in rows] == ['nothing', 'best'], done.stdout
  assert rows == re.findall(
    r'^\| (nothing|best) \| 2 \| (\d+)% .*\| (\d+)% ', again.stdout, re.MULTILINE
  )
  options = read_history(tmp_path / 'best').config.proposer_options
  assert options['omitted_sections'] == ['best']
