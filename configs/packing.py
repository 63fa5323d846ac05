"""A whole research loop in about a minute: 26 circles in a square, the largest sum of radii.

  python -m autoresearch_jax.main --config=configs/packing.py            # budget in steps
  python -m autoresearch_jax.main --config=configs/packing.py:seconds

Variants: `steps` (default; repeatable bit for bit on one machine) and `seconds` (0.25 s of
training, in which more starts take fewer steps; how many depends on the machine and its load).
In steps, more work in each one costs nothing, so believe gains of that kind in seconds alone. CPU,
no download, no data. The score is proved in float64 and exact arithmetic, see
autoresearch_jax/problems/packing.py.

The unmodified program scores a sum of radii of 2.439 with a deviation of 0.013 between 8 seeds
(`seconds`: 2.56 to 2.59 and 0.02 to 0.06 on two busy cores). A run of 24 trials reached 2.594 in
30 seconds; 64 starts with a penalty that begins at 5 and a warm-down of 0.7 score 2.622 with a
deviation of 0.005.
"""

from ml_collections import ConfigDict


def get_config(variant: str = 'steps') -> ConfigDict:
  """The whole run in plain sight; see the module's docstring for variants."""
  variant = variant or 'steps'
  if variant not in ('steps', 'seconds'):
    raise ValueError(f'There is no variant {variant!r}; there are: steps, seconds.')
  c = ConfigDict()

  c.name = f'packing_{variant}'  # of the run: its folder below runs/, its branch autoresearch/NAME
  c.platform = 'cpu'  # asserted: a run never falls back to another platform in silence
  c.seed = 0  # root of all randomness of the search; a trial's training seeds are the proposal's

  # What is optimised.
  c.metric = 'sum_of_radii'  # of the circles that are left when nothing overlaps; side 1
  c.direction = 'maximize'

  # What is edited.
  c.program = 'packing'  # a folder in autoresearch_jax/programs, or a path to one
  c.entry = 'model.py'  # the file that defines init, train_step and predict
  c.editable = ('model.py',)  # files a proposer may change
  c.constants = ConfigDict()  # ALL_CAPS constants of the program that start with another value

  # How long a trial trains: compilation is never part of it.
  c.budget = ConfigDict()
  c.budget.amount = 200.0 if variant == 'steps' else 0.25
  c.budget.unit = variant  # steps or seconds; also tokens (starts x steps) or flops

  # Options of the problem, which has no data.
  c.problem = 'packing'
  c.data = ConfigDict()
  c.data.circles = 26  # in the unit square; the best known sum of radii is about 2.6360

  # How the next thing to try is chosen.
  c.search = ConfigDict()
  c.search.strategy = 'greedy'  # improve the incumbent, as the original does
  c.search.options = ConfigDict()
  c.search.max_trials = 24  # the baseline included; 0: until stopped

  c.proposer = 'mutate'  # offline edits of constants and structure, no key needed
  c.proposer_options = ConfigDict()

  # What counts as better: more than the noise that the baseline's seeds show.
  c.acceptance = 'noise'
  c.acceptance_options = ConfigDict()
  c.acceptance_options.baseline_seeds = 8  # cheap here; few can look far quieter than they are

  c.executor = 'local'  # on this machine
  c.executor_options = ConfigDict()
  c.executor_options.slots = 1  # trials at once, which share the cores; 1: each has all of them

  c.final_seeds = 0  # a construction is judged by proof: there are no data to hold back

  # What a candidate may use; passing one ends the trial. Each field of config.Limits
  # can be set, here or with --config.limits.NAME=VALUE; so can the options of the parts above.
  c.limits = ConfigDict()
  c.limits.isolation = 'full'  # full, limits or none: what the sandbox must achieve
  c.limits.trace_seconds = 60.0  # wall clock of one trace
  c.limits.max_loss = 100.0  # fail at once when the training loss is NaN or above
  return c.lock()
