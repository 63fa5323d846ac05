"""The tie-break: smaller programs win at equal score, and nothing else changes."""

import dataclasses
import importlib

import pytest

from autoresearch_jax import types
from autoresearch_jax.acceptance import ACCEPTANCE
from autoresearch_jax.acceptance.noise import Noise
from autoresearch_jax.acceptance.simplicity import Simplicity, count_nodes
from autoresearch_jax.testing.acceptance import EDIT, TrialStream

KEEP, DISCARD = types.Decision.KEEP, types.Decision.DISCARD
LARGE = 'def f(x):\n  return x + 1 + 2\n'
SMALL = 'def f(x):\n  return x + 3\n'


def edit(text, name='model.py'):
  return dataclasses.replace(EDIT, program=types.Program(((name, text),), name))


def tried(rule, texts, scores):
  """A stream of a baseline and a challenger with these texts and scores (smaller is better)."""
  stream = TrialStream.start(
    rule, lambda program, seed: scores[0] + 0.01 * (-1) ** seed, edit(texts[0])
  )
  return stream.step(lambda program, seed: scores[1], edit(texts[1]))


def decision(rule, texts, scores):
  return tried(rule, texts, scores).trials[-1].verdict.decision


@pytest.mark.parametrize(
  ('texts', 'scores', 'expected'),
  [
    ((LARGE, SMALL), (1.0, 1.0), KEEP),  # equal and smaller
    ((LARGE, SMALL), (1.0, 0.999), KEEP),  # no proven gain, not worse
    ((LARGE, SMALL), (1.0, 1.001), DISCARD),  # worse
    ((LARGE, LARGE), (1.0, 1.0), DISCARD),  # as large
    ((SMALL, LARGE), (1.0, 1.0), DISCARD),  # larger
    ((SMALL, LARGE), (1.0, 0.5), KEEP),  # larger, but proven better
    ((LARGE, 'def f(x:'), (1.0, 1.0), DISCARD),  # no Python: the inner rule's verdict stands
    (('\0', SMALL), (1.0, 1.0), DISCARD),
  ],
)
def test_the_tie_break(texts, scores, expected):
  assert decision(Simplicity(), texts, scores) is expected


def test_the_sentence_names_both_sizes_after_the_inner_rules_reason():
  verdict = tried(Simplicity(), (LARGE, SMALL), (1.0, 1.0)).trials[-1].verdict
  inner, simpler = verdict.reason.split('. Kept')
  assert 'val_loss 1.000000' in inner and 'gain +0' in inner
  assert 'no worse score: 10 syntax-tree nodes vs. 13' in simpler


def test_a_tolerance_lets_a_smaller_program_score_a_little_worse_or_asks_for_more():
  scores = (1.0, 1.005)  # 0.39 deviations of the difference: 0.01155 · √(1 + 1/4) = 0.0129
  assert decision(Simplicity(tolerance=0.38), (LARGE, SMALL), scores) is DISCARD
  assert decision(Simplicity(tolerance=0.40), (LARGE, SMALL), scores) is KEEP
  better = (1.0, 0.995)
  assert decision(Simplicity(tolerance=-0.38), (LARGE, SMALL), better) is KEEP
  assert decision(Simplicity(tolerance=-0.40), (LARGE, SMALL), better) is DISCARD


def test_least_is_how_many_nodes_must_be_saved():
  assert decision(Simplicity(min_nodes_saved=3), (LARGE, SMALL), (1.0, 1.0)) is KEEP
  assert decision(Simplicity(min_nodes_saved=4), (LARGE, SMALL), (1.0, 1.0)) is DISCARD


def test_docstrings_comments_and_layout_do_not_count():
  plain = 'class A:\n  x = 1\n\n\ndef f():\n  return "text"\n'
  said = (
    '"""Module."""\nclass A:\n  """A."""\n  x = 1\ndef f():  # says\n  """F."""\n  return "text"'
  )
  assert count_nodes(plain) == count_nodes(said)
  assert count_nodes('def f():\n  return 1') < count_nodes('def f():\n  return 1 + 1')
  assert count_nodes('x = "\\d"') == count_nodes(
    'x = "d"'
  )  # and no warning of the candidate's escape
  assert count_nodes('x = ' + '(' * 500 + ')' * 500) is None


def test_only_python_files_count():
  long = edit('x' * 500, 'notes.txt')
  stream = TrialStream.start(Simplicity(), lambda program, seed: 1.0, long)
  assert stream.step(lambda p, s: 1.0, edit('', 'notes.txt')).trials[-1].verdict.decision is DISCARD


def test_an_undecided_challenger_is_not_kept_early_but_replicated():
  rule = Simplicity('sequential', {'baseline_seeds': 4})
  stream = tried(rule, (LARGE, SMALL), (1.0, 0.97))
  assert stream.trials[-1].verdict.decision is DISCARD
  assert stream.rule.undecided(stream.state, stream.trials[-1])
  assert stream.ask()[1] == types.Proposal(types.Operation.REPLICATE, (1,), seeds=(1,))


def test_once_the_inner_rule_gave_it_up_the_tie_break_holds_and_the_inner_rule_goes_on():
  rule = Simplicity('sequential', {'baseline_seeds': 4})
  stream = tried(rule, (LARGE, SMALL), (1.0, 0.99))  # less than a deviation better: not pursued
  assert stream.incumbent.id == 1
  after = stream.step(lambda program, seed: 0.98, edit(SMALL))
  assert '(trial 1, 1 run)' in after.trials[-1].verdict.reason


def test_a_replicate_of_the_incumbent_is_never_its_simplification():
  stream = TrialStream.start(Simplicity(), lambda program, seed: 1.0, edit(LARGE))
  wish = types.Proposal(types.Operation.REPLICATE, (0,), seeds=(9,))
  assert stream.run(wish, lambda p, s: 1.0).trials[-1].verdict.decision is DISCARD


def test_the_inner_rule_is_named_with_its_options_and_refused_where_it_cannot_be():
  assert Simplicity().rule == Noise()
  assert Simplicity('noise', {'threshold': 3.0}).rule == Noise(threshold=3.0)
  assert Simplicity('sequential').baseline_seeds == 8
  with pytest.raises(ValueError, match='There is no acceptance'):
    Simplicity('nothing')
  with pytest.raises(ValueError, match="has no option 'x'"):
    Simplicity('strict', {'x': 1})
  with pytest.raises(ValueError, match='min_nodes_saved is 0'):
    Simplicity(min_nodes_saved=0)
  for tolerance in (float('nan'), float('inf')):
    with pytest.raises(ValueError, match='tolerance is '):
      Simplicity(tolerance=tolerance)


def test_baseline_seeds_are_the_inner_rules_whichever_of_the_two_has_them():
  assert Simplicity(baseline_seeds=6).rule == Noise(baseline_seeds=6)
  once = Simplicity(inner_options={'baseline_seeds': 6})
  assert once.baseline_seeds == 6
  assert once == dataclasses.replace(once, baseline_seeds=6)
  with pytest.raises(ValueError, match='baseline_seeds is 8, but 6 in inner_options'):
    Simplicity(inner_options={'baseline_seeds': 6}, baseline_seeds=8)


@pytest.mark.parametrize('config', ['digits', 'packing'])
def test_it_replaces_the_rule_of_a_config_that_sets_baseline_seeds(config):
  options = importlib.import_module(f'configs.{config}').get_config().acceptance_options.to_dict()
  assert options['baseline_seeds'] == 8
  assert ACCEPTANCE.make('simplicity', options).rule == Noise(baseline_seeds=8)
