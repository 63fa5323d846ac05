"""What to try next: ranked by what it may gain and by what it would teach."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Question:
  """Something worth knowing. text: a sentence or two, for whoever writes the edit.

  tags: what it is about, as in hypotheses: mechanisms, or keys of `mutate`'s moves such as
  'DEPTH up'. expected_gain: of the score. teaches: expected reduction of the standard deviation
  of an effect, in the same unit. trials: what it rests on.
  """

  text: str
  tags: tuple[str, ...] = ()
  expected_gain: float = 0.0
  teaches: float = 0.0
  trials: tuple[int, ...] = ()
