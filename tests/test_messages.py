"""One line stays one line, whatever it is made of."""

from hypothesis import given
from hypothesis import strategies as st

from autoresearch_jax.messages import one_line


@given(st.text(), st.integers(0, 40))
def test_a_line_is_printable_and_as_short_as_asked(text, width):
  line = one_line(text, width)
  assert line.isprintable()
  assert len(line.splitlines()) <= 1
  assert not width or len(line) <= width


def test_what_is_harmless_stays():
  assert one_line('raise λ by 2 → 4 — "done"') == 'raise λ by 2 → 4 — "done"'
  assert one_line('a\nb\t\x1b[31mc\u202ed') == 'a b [31mc d'
  assert one_line('abcdef', 4) == 'abc…'
