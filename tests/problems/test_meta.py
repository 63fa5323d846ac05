"""The problem `meta`: its landscapes, and the secret that instances are drawn from."""

import pytest

from autoresearch_jax.problems.meta import LANDSCAPES, MetaSearch


@pytest.mark.parametrize(
  ('options', 'words'),
  [
    ({'tuning': ()}, 'one or more'),
    ({'tuning': ('nk_k4', 'nk_k4')}, 'once'),
    ({'held_out': ('nowhere',)}, 'no landscape'),
    ({'tuning': ('sphere_10',), 'held_out': ('ackley_10',)}, "'continuous'"),
    ({'instances': 0}, 'instances is 0'),
  ],
)
def test_options_that_cannot_be_are_refused(options, words):
  with pytest.raises(ValueError, match=words):
    MetaSearch(**options)


def test_no_family_is_both_shown_and_held_out():
  problem = MetaSearch()
  shown, kept = ({LANDSCAPES[n][0] for n in names} for names in (problem.tuning, problem.held_out))
  assert shown and kept and not shown & kept


def test_the_secret_is_drawn_once_and_hidden(tmp_path):
  first, again = (MetaSearch().prepare(tmp_path, lambda line: None) for _ in range(2))
  assert first == again and first.validation == first.test
  elsewhere = MetaSearch().prepare(tmp_path / 'other', lambda line: None)
  assert elsewhere.fingerprint != first.fingerprint
  assert (
    MetaSearch(instances=2).prepare(tmp_path, lambda line: None).fingerprint != first.fingerprint
  )
