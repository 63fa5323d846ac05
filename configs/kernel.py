"""Kernels: making a function fast at equal outputs; a run takes ten minutes or less.

  python -m autoresearch_jax.main --config=configs/kernel.py                 # softmax_xent
  python -m autoresearch_jax.main --config=configs/kernel.py:scan
  python -m autoresearch_jax.main --config=configs/kernel.py:batched_matmul

Variants: `softmax_xent`, cross-entropies over a large vocabulary; `scan`, a linear recurrence;
`batched_matmul`, products of many small matrices. In each, XLA's code for CPUs leaves room.

Each trial compares the program's `kernel` with the reference on inputs that it has never seen, and
then times both in pairs for the budget. See docs/kernels.md.

Data: none.
Hardware: a CPU with two cores, no download.
"""

from ml_collections import ConfigDict

INPUTS = {
  'softmax_xent': ('float32[256,8192]', 'int32[256] in [0, 8191]'),
  'scan': ('float32[2048,256] in [0, 1]', 'float32[2048,256] in [-100, 100]'),
  'batched_matmul': ('float32[4096,12,12]', 'float32[4096,12,12]'),
}


def get_config(variant: str = '') -> ConfigDict:
  """Returns the config of a run; the module's docstring describes the variants."""
  variant = variant or 'softmax_xent'
  if variant not in INPUTS:
    raise ValueError(f'There is no variant {variant!r}; there are: {", ".join(INPUTS)}.')
  c = ConfigDict()

  c.name = f'kernel_{variant}'  # names the folder runs/NAME and the branch autoresearch/NAME
  c.platform = 'cpu'  # where kernels run: cpu, gpu or tpu
  c.seed = 0  # root seed of the search; the inputs are drawn anew in each trial

  # Objective: the median of the kernel's time over the reference's, both compiled by XLA.
  c.metric = 'relative_time'
  # Bounds on metrics and costs, such as {'tolerance_used': '<= 0.5'}; others are not kept.
  c.constraints = ConfigDict()

  # Program.
  c.program = f'kernels/{variant}'  # a folder in autoresearch_jax/programs, or a path to one
  c.entry = 'model.py'  # the file that defines kernel(*inputs)
  c.editable = ('model.py',)  # files that a proposer may change
  c.constants = ConfigDict()  # values that replace the program's ALL_CAPS constants

  # How long a kernel is timed. The wall clock: each call is paired with one of the reference.
  c.budget = ConfigDict()
  c.budget.amount = 1.0
  c.budget.unit = 'seconds'  # or steps: pairs of calls
  c.budget.clock = 'wall'

  # The reference, which no edit changes, and the inputs: dtype[shape], and the values in which the
  # reference is defined, if not all. `rtol` and `atol` have defaults for each dtype.
  c.problem = 'kernel'
  c.data = ConfigDict()
  c.data.reference = f'kernels/{variant}/reference.py:reference'
  c.data.inputs = INPUTS[variant]
  c.data.gradients = False  # True: gradients are compared and timed, too

  # Search strategy.
  c.search = ConfigDict()
  c.search.strategy = 'greedy'  # improve the incumbent
  c.search.options = ConfigDict()
  c.search.max_trials = 60  # trials, including the baseline; 0: until stopped
  c.search.prefetch = 0  # nothing is traced while a kernel is timed

  c.proposer = 'mutate'  # random edits of constants and structure, offline
  c.proposer_options = ConfigDict()

  # Acceptance rule: replicates what looks faster until the evidence decides.
  c.acceptance = 'sequential'
  c.acceptance_options = ConfigDict()
  c.acceptance_options.baseline_seeds = 6  # timings of the baseline that estimate the noise

  c.executor = 'local'  # on this machine
  c.executor_options = ConfigDict()
  c.executor_options.slots = 1  # kernels that are timed at once would slow each other down

  # Timings per program in the final comparison of best and baseline, on other inputs; 0: none.
  c.final_seeds = 6

  # Limits on a candidate; exceeding one ends the trial. `autoresearch run --help` lists all of
  # them, and the options of the components above; set them here or as --config.limits.NAME=VALUE.
  c.limits = ConfigDict()
  c.limits.isolation = 'full'  # required of the sandbox: full, limits or none
  c.limits.trace_seconds = 60.0  # wall-clock time of a trace
  c.limits.constant_bytes = 2**16  # of a program: enough for small tables
  return c.lock()
