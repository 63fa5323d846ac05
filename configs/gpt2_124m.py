"""GPT-2 124M on FineWeb, the reproduction of llm.c: validation loss 3.28 after 9.9 billion tokens.

  autoresearch prepare --corpus=fineweb --shards=10
  python -m autoresearch_jax.main --config=configs/gpt2_124m.py         # 10 minutes a trial
  python -m autoresearch_jax.main --config=configs/gpt2_124m.py:full    # the reproduction

Variants: `short` (default; a search at 600 s of training a trial) and `full` (18,865 steps, as
published; needs 99 shards). They are for the accelerator that JAX finds, or for that of their end,
as in `short_tpu` (also _gpu, _cpu).

Source: https://github.com/karpathy/llm.c/discussions/481 (2024): batch 2^19 tokens, AdamW with
betas 0.9 and 0.95, peak rate 0.0006, 700 steps of warm-up, cosine to 0, decay 0.1, gradients
clipped at 1. 124,475,904 parameters with the vocabulary padded to 50,304.
Data: FineWeb, sample of 10 billion tokens, in GPT-2's tokens.
Hardware: an H100 or a TPU v5e; published on eight A100, where it takes 90 minutes.
Time: by FLOPs (8.5e18), `full` takes 5 to 6 hours on an H100 at 45 % of its peak.
Score: published 3.28 (val_loss, nats per token); not run here.
"""

from ml_collections import ConfigDict

from autoresearch_jax.executors import probe

STEPS, BATCH_TOKENS = 18_865, 2**19


def get_config(variant: str = 'short') -> ConfigDict:
  """Returns the config of a run; the module's docstring describes the variants."""
  variant, _, platform = (variant or 'short').partition('_')
  platform = platform or probe.platform()
  if variant not in ('short', 'full') or platform not in ('cpu', 'gpu', 'tpu'):
    raise ValueError(
      f'There is no variant {variant!r} for {platform!r}; there are: short and full, with _cpu, '
      '_gpu or _tpu after it or without.'
    )
  full = variant == 'full'
  c = ConfigDict()

  c.name = f'gpt2_124m_{variant}'  # names the folder runs/NAME and the branch autoresearch/NAME
  c.platform = platform  # asserted: a run never silently falls back to another platform
  c.seed = 0  # root seed of the search; the training seeds are part of each proposal

  c.metric = 'val_loss'  # nats per token on the validation split
  c.constraints = ConfigDict()  # such as {'parameters': '<= 125_000_000'}

  c.program = 'gpt2'  # a folder in autoresearch_jax/programs, or a path to one
  c.entry = 'model.py'  # the file that defines init, train_step and predict
  c.editable = ('model.py',)  # files that a proposer may change
  c.constants = ConfigDict()  # values that replace the program's ALL_CAPS constants
  c.constants.MICRO_BATCH_SIZE = 32 if platform == 'gpu' else 8  # determines the memory
  if not full:  # 700 steps of warm-up would be most of a short training
    c.constants.WARMUP_RATIO = 0.05
    c.constants.WARMDOWN_RATIO = 0.95

  # Training budget of a trial; compilation does not count.
  c.budget = ConfigDict()
  c.budget.amount = float(STEPS * BATCH_TOKENS) if full else 600.0  # in the unit below
  c.budget.unit = 'tokens' if full else 'seconds'

  c.problem = 'fineweb'
  c.data = ConfigDict()
  c.data.shards = 99 if full else 10  # training shards of 100 million tokens
  c.data.sequence_length = 1024
  c.data.validation_tokens = 20 * BATCH_TOKENS  # scored after each training run
  c.data.test_tokens = 10 * BATCH_TOKENS  # scored in the final evaluation only
  c.data.evaluation_batch = 16  # rows per call of predict

  c.search = ConfigDict()
  c.search.strategy = 'speculative'  # wraps tree; greedy is the original's
  c.search.options = ConfigDict()
  c.search.max_trials = 1 if full else 0  # including the baseline; 0: until stopped
  c.search.prefetch = 1  # trials prepared while others run

  c.proposer = 'auto'  # a language model if a key is set, else mutate
  c.proposer_options = ConfigDict()

  c.acceptance = 'strict' if full else 'paired'  # one trial needs no noise estimate
  c.acceptance_options = ConfigDict()
  if not full:
    c.acceptance_options.baseline_seeds = 3  # training runs of the baseline
    c.acceptance_options.min_gain = 1.0  # smaller gains, in seed deviations, end a test

  c.executor = 'local'  # on this machine
  c.executor_options = ConfigDict()
  c.executor_options.slots = 0 if platform == 'gpu' else 1  # 0: one trial per device

  c.final_seeds = 0 if full else 2  # training runs per program in the final evaluation

  c.limits = ConfigDict()
  c.limits.trace_seconds = 300.0  # wall-clock time of a trace
  c.limits.compile_seconds = 900.0
  c.limits.step_seconds = 120.0  # longest time without a message: one step, or a batch of predict
  return c.lock()
