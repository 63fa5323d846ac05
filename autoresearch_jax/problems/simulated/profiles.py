"""What research on a real program is like, in numbers: the parameters of the lineage simulator.

Sources, named at each profile: [published] figures of karpathy/autoresearch and of
autoresearch-automl (arXiv 2603.24647); [fitted] by `scripts/fit_lineage.py` to ledgers of runs of
this project, with the command beside it; [chosen] where nothing was recorded.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Profile:
  """One kind of research.

  baseline, floor: the metric of the unmodified program, and what no program passes. noise: its
  deviation between seeds. All three in the metric's unit, smaller is better.

  Edits. helpful, harmful: shares of the edits that run; the rest change nothing. Sizes are
  log-normal, `*_median` in units of baseline - floor and `*_spread` the deviation of the logarithm.
  pairs: share of edits that harm alone and help together with their partner.

  Failures. broken: share of edits that never run. conflict: chance that two edits do not go
  together. memory: the unmodified program's share of the device's memory; an edit multiplies it by
  exp(x), x normal with deviation `memory_spread` for one edit in three, else by 1.

  Seconds of a trial: `training_seconds` shrink with the budget, `other_seconds` do not.
  """

  baseline: float
  floor: float
  noise: float
  helpful: float
  helpful_median: float
  helpful_spread: float
  harmful: float
  harmful_median: float
  harmful_spread: float
  pairs: float
  broken: float
  conflict: float
  memory: float
  memory_spread: float
  training_seconds: float
  other_seconds: float


PROFILES = {
  # GPT of 50 M parameters, 300 s on one H100, val_bpb.
  'h100': Profile(
    baseline=0.9979,  # [published]
    floor=0.955,  # [chosen] below the best [published], 0.9697 after 125 trials
    noise=0.0008,  # [chosen] below 0.0012, the [published] deviation between whole searches
    helpful=0.15,
    helpful_median=0.03,
    helpful_spread=1.0,
    harmful=0.5,
    harmful_median=0.05,
    harmful_spread=1.5,
    pairs=0.06,  # [chosen]
    broken=0.06,  # [chosen]
    conflict=0.002,  # [chosen]
    memory=0.55,  # [published] 45,060 MB of 80 GiB
    memory_spread=0.4,  # [chosen] gives a share out of memory inside the [published] 5 % to 56 %
    training_seconds=300.0,  # [published]
    other_seconds=26.0,  # [published]
  ),
}
