"""A small MLP on scikit-learn's handwritten digits: a complete run in about a minute.

  python -m autoresearch_jax.main --config=configs/digits.py            # budget in steps
  python -m autoresearch_jax.main --config=configs/digits.py:seconds

Variants: `steps` (default; bitwise reproducible on one machine) and `seconds` (1 s of training, in
which larger programs take fewer steps).

Data: the digits dataset of scikit-learn (UCI Optical Recognition of Handwritten Digits, test set).
Hardware: a CPU with two cores, no download.
Time: 24 trials in about a minute.
Score: the unmodified program has a val_loss of 0.216, with a standard deviation of 0.015 over 40
seeds (`python scripts/studies/seeds/record_seed_scores.py --config=configs/digits.py --seeds=40`).
A better learning rate, batch size and normalisation reach 0.07; training on the test examples as
well reaches 0.06.
"""

from ml_collections import ConfigDict


def get_config(variant: str = 'steps') -> ConfigDict:
  """Returns the config of a run; the module's docstring describes the variants."""
  variant = variant or 'steps'
  if variant not in ('steps', 'seconds'):
    raise ValueError(f'There is no variant {variant!r}; there are: steps, seconds.')
  c = ConfigDict()

  c.name = f'digits_{variant}'  # names the folder runs/NAME and the branch autoresearch/NAME
  c.platform = 'cpu'  # asserted: a run never silently falls back to another platform
  c.seed = 0  # root seed of the search; the training seeds are part of each proposal

  # Objective. val_accuracy has a resolution of 1/450, which is as large as typical gains.
  c.metric = 'val_loss'  # cross-entropy on the validation examples, nats per example
  # Bounds on metrics and costs, such as {'parameters': '<= 1_000_000'}; others are not kept.
  c.constraints = ConfigDict()

  # Program.
  c.program = 'mlp'  # a folder in autoresearch_jax/programs, or a path to one
  c.entry = 'model.py'  # the file that defines init, train_step and predict
  c.editable = ('model.py',)  # files that a proposer may change
  c.constants = ConfigDict()  # values that replace the program's ALL_CAPS constants

  # Training budget of a trial; compilation does not count.
  c.budget = ConfigDict()
  c.budget.amount = 300.0 if variant == 'steps' else 1.0  # in the unit below
  c.budget.unit = variant  # steps or seconds; also tokens (examples) or flops
  # How seconds are counted. calibrated: longer while other processes use the machine or its cores
  # are slow, so that a trial gets the same work done at any hour; wall: by the wall clock; auto:
  # calibrated, unless the run began with the wall clock. `autoresearch measure drift` compares.
  c.budget.clock = 'auto'

  # Data: options of the problem.
  c.problem = 'digits'
  c.data = ConfigDict()
  c.data.validation_examples = 450  # of 1797, stratified by class
  c.data.evaluation_batch = 225  # examples per call of predict; divides validation_examples
  c.data.test_examples = 225  # scored in the final evaluation only, see final_seeds
  c.data.split_seed = 0  # of the random split

  # Search strategy.
  c.search = ConfigDict()
  c.search.strategy = 'greedy'  # improve the incumbent, as the original does
  c.search.options = ConfigDict()
  c.search.max_trials = 24  # trials, including the baseline; 0: until stopped
  # Trials prepared while others run. With a budget in seconds this short, a concurrent trace costs
  # training steps: a quarter of them with 0.3 s, and none for the baseline (docs/performance.md).
  c.search.prefetch = 1 if variant == 'steps' else 0

  c.proposer = 'mutate'  # random edits of constants and structure, offline
  c.proposer_options = ConfigDict()

  # Acceptance rule. `noise` requires a gain beyond the baseline's seed noise, and decides at once,
  # which suits a run of 24 trials. In 23 % of the runs with 100 edits without effect it has a false
  # keep, `sequential` in 1.5 % (scripts/studies/acceptance/acceptance.md). Budgets in seconds need
  # `paired`, whose evidence does not depend on the machine's speed at different hours.
  c.acceptance = 'noise' if variant == 'steps' else 'paired'  # or sequential; strict: any gain
  c.acceptance_options = ConfigDict()
  c.acceptance_options.baseline_seeds = 8  # training runs that estimate the seed noise

  # Whether to stop trials that are too far behind to be kept, once there are 16 programs. For
  # random edits this saves 40 % of the training and missed 2 of 266 keeps; for a greedy search it
  # saves 5 % and missed none (scripts/studies/pruning/pruning.md).
  c.pruning = True  # set False for strategies that build on worse programs, such as restarts

  c.executor = 'local'  # on this machine
  c.executor_options = ConfigDict()
  c.executor_options.slots = 1  # concurrent trials, which share the cores

  # Training runs per program in the final evaluation, which compares best and baseline on unused
  # seeds and on the test split: 16 runs, a fraction of a second each; 0: none.
  c.final_seeds = 8

  # Limits on a candidate; exceeding one ends the trial. `autoresearch run --help` lists all of
  # them, and the options of the components above; set them here or as --config.limits.NAME=VALUE.
  c.limits = ConfigDict()
  c.limits.isolation = 'full'  # required of the sandbox: full, limits or none
  c.limits.trace_seconds = 60.0  # wall-clock time of a trace
  c.limits.max_loss = 100.0  # training loss above which, or if NaN, the trial has diverged
  return c.lock()
