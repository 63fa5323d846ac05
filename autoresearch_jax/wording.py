"""How text that a candidate or a model wrote is put where people and parsers read it."""


def one_line(text: str, width: int = 0) -> str:
  """`text` on one line without control characters, cut to `width` characters if that is not 0.

  A tab, a line break or an escape sequence inside a description would otherwise add a column to
  results.tsv or redraw the reader's terminal; a direction mark would reorder it.
  """
  shown = ''.join(character if character.isprintable() else ' ' for character in text)
  shown = ' '.join(shown.split())
  return shown[: width - 1] + '…' if 0 < width < len(shown) else shown
