"""The edits that the proposer `mutate` can make: constants, coupled constants, structure.

`source` reads and rewrites one file; `steps` says how a value moves, `constants` which constants
there are and why one would move them; `structure` is how a change of structure is found and made,
`catalogue` the changes themselves, as data.
"""

import dataclasses
from collections.abc import Callable
from typing import Literal

import numpy as np

Kind = Literal['constant', 'coupled', 'structure']


@dataclasses.dataclass(frozen=True)
class Sizes:
  """How far a step in scale goes: a factor drawn log-uniformly between the two."""

  smallest: float = 1.15
  largest: float = 3.0


@dataclasses.dataclass(frozen=True)
class Rewrite:
  """A file's new text, and the line that tells what changed."""

  text: str
  description: str


@dataclasses.dataclass(frozen=True)
class Move:
  """One way to change one file, found to apply to it.

  key: what moves and which way; the same for every size of the step. weight: of being chosen,
  within its kind. effect, uncertainty: expected gain and its deviation, as fractions of the
  metric. make: draws the details; None where nothing comes of it.
  """

  key: str
  kind: Kind
  weight: float
  claim: str
  mechanisms: tuple[str, ...]
  effect: float
  uncertainty: float
  make: Callable[[np.random.Generator], Rewrite | None]
