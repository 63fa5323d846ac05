"""Packing 26 circles in a unit square to maximise the sum of radii: a run in about a minute.

  python -m autoresearch_jax.main --config=configs/packing.py            # budget in steps
  python -m autoresearch_jax.main --config=configs/packing.py:seconds

Variants: `steps` (default; bitwise reproducible on one machine) and `seconds` (0.25 s of training,
in which more starts take fewer steps, depending on the machine and its load). With a budget in
steps, more work per step is free, so only trust such gains in `seconds`.

Data: none. The score is verified in float64 and exact arithmetic, see
autoresearch_jax/problems/packing.py.
Hardware: a CPU with two cores, no download.
Time: 24 trials in 30 seconds to a minute.
Score: the unmodified program has a sum of radii of 2.439, with a standard deviation of 0.013 over 8
seeds (`seconds`: 2.56 to 2.59 and 0.02 to 0.06 on two busy cores). A run of 24 trials reached 2.594
in 30 seconds. 64 starts with an initial penalty of 5 and a warm-down of 0.7 reach 2.622, with a
standard deviation of 0.005.
"""

from ml_collections import ConfigDict


def get_config(variant: str = 'steps') -> ConfigDict:
  """Returns the config of a run; the module's docstring describes the variants."""
  variant = variant or 'steps'
  if variant not in ('steps', 'seconds'):
    raise ValueError(f'There is no variant {variant!r}; there are: steps, seconds.')
  c = ConfigDict()

  c.name = f'packing_{variant}'  # names the folder runs/NAME and the branch autoresearch/NAME
  c.platform = 'cpu'  # asserted: a run never silently falls back to another platform
  c.seed = 0  # root seed of the search; the training seeds are part of each proposal

  # Objective.
  c.metric = 'sum_of_radii'  # after overlaps are removed; the square's side is 1
  # Bounds on metrics and costs, such as {'parameters': '<= 1_000_000'}; others are not kept.
  c.constraints = ConfigDict()

  # Program.
  c.program = 'packing'  # a folder in autoresearch_jax/programs, or a path to one
  c.entry = 'model.py'  # the file that defines init, train_step and predict
  c.editable = ('model.py',)  # files that a proposer may change
  c.constants = ConfigDict()  # values that replace the program's ALL_CAPS constants

  # Training budget of a trial; compilation does not count.
  c.budget = ConfigDict()
  c.budget.amount = 200.0 if variant == 'steps' else 0.25  # in the unit below
  c.budget.unit = variant  # steps or seconds; also tokens (starts x steps) or flops

  # Options of the problem, which has no data.
  c.problem = 'packing'
  c.data = ConfigDict()
  c.data.circles = 26  # in the unit square; the best known sum of radii is about 2.6360

  # Search strategy.
  c.search = ConfigDict()
  c.search.strategy = 'greedy'  # improve the incumbent, as the original does
  c.search.options = ConfigDict()
  c.search.max_trials = 24  # trials, including the baseline; 0: until stopped

  c.proposer = 'mutate'  # random edits of constants and structure, offline
  c.proposer_options = ConfigDict()

  # Acceptance rule: requires a gain beyond the baseline's seed noise.
  c.acceptance = 'noise'
  c.acceptance_options = ConfigDict()
  c.acceptance_options.baseline_seeds = 8  # training runs that estimate the seed noise

  c.executor = 'local'  # on this machine
  c.executor_options = ConfigDict()
  c.executor_options.slots = 1  # concurrent trials, which share the cores

  c.final_seeds = 0  # no final evaluation, since the score is exact and needs no test split

  # Limits on a candidate; exceeding one ends the trial. `autoresearch run --help` lists all of
  # them, and the options of the components above; set them here or as --config.limits.NAME=VALUE.
  c.limits = ConfigDict()
  c.limits.isolation = 'full'  # required of the sandbox: full, limits or none
  c.limits.trace_seconds = 60.0  # wall-clock time of a trace
  c.limits.max_loss = 100.0  # training loss above which, or if NaN, the trial has diverged
  return c.lock()
