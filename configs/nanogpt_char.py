"""nanoGPT's character model on tiny Shakespeare.

  python -m autoresearch_jax.main --config=configs/nanogpt_char.py        # auto
  python -m autoresearch_jax.main --config=configs/nanogpt_char.py:cpu

Variants: `cpu` (nanoGPT's setting for a laptop: 4 layers, width 128, context 64, 2,000 steps) and
`gpu` (6 layers, width 384, context 256, dropout 0.2, 5,000 steps), also for a TPU; `auto` (default)
is the one for the platform that JAX finds.

Source: https://github.com/karpathy/nanoGPT (2022), config/train_shakespeare_char.py and README:
AdamW with betas 0.9 and 0.99, peak rate 0.001, 100 steps of warm-up, cosine to 0.0001, decay 0.1,
gradients clipped at 1, no biases. Tokens are bytes, not the text's 65 characters: 195 more rows of
the embedding.
Data: tiny Shakespeare, 1.1 MB, downloaded and checked on first use; without a network as much text
of the library that ships with Python.
Hardware: cpu two cores; gpu any.
Score: published 1.88 (cpu) and 1.4697 (gpu), val_loss in nats per character.
"""

from ml_collections import ConfigDict

from autoresearch_jax.executors import probe


def get_config(variant: str = 'auto') -> ConfigDict:  # noqa: PLR0915 - one statement per field
  """Returns the config of a run; the module's docstring describes the variants."""
  platform = probe.platform()
  variant = ('cpu' if platform == 'cpu' else 'gpu') if variant in ('auto', '') else variant
  if variant not in ('cpu', 'gpu'):
    raise ValueError(f'There is no variant {variant!r}; there are: auto, cpu, gpu.')
  cpu = variant == 'cpu'
  steps = 2000 if cpu else 5000
  c = ConfigDict()

  c.name = f'nanogpt_char_{variant}'  # names the folder runs/NAME and the branch autoresearch/NAME
  c.platform = platform  # asserted: a run never silently falls back to another platform
  c.seed = 0  # root seed of the search; the training seeds are part of each proposal

  c.metric = 'val_loss'  # nats per character on the validation split; or val_bpb, val_perplexity
  c.constraints = ConfigDict()  # such as {'parameters': '<= 11_000_000'}

  c.program = 'gpt2'  # a folder in autoresearch_jax/programs, or a path to one
  c.entry = 'model.py'  # the file that defines init, train_step and predict
  c.editable = ('model.py',)  # files that a proposer may change
  c.constants = ConfigDict()  # values that replace the program's ALL_CAPS constants
  c.constants.DEPTH = 4 if cpu else 6  # transformer blocks
  c.constants.HEADS = 4 if cpu else 6
  c.constants.WIDTH = 128 if cpu else 384
  c.constants.BIAS = False
  c.constants.DROPOUT_RATE = 0.0 if cpu else 0.2
  c.constants.VOCAB_MULTIPLE = 1
  c.constants.BATCH_SIZE = 12 if cpu else 64  # sequences per train step
  c.constants.MICRO_BATCH_SIZE = 64
  c.constants.LEARNING_RATE = 0.001
  c.constants.ADAM_BETAS = (0.9, 0.99)
  c.constants.WARMUP_RATIO = 100 / steps
  c.constants.WARMDOWN_RATIO = 1 - 100 / steps
  c.constants.FINAL_LR_FRAC = 0.1

  # Training budget of a trial; compilation does not count.
  c.budget = ConfigDict()
  c.budget.amount = float(steps)  # in the unit below
  c.budget.unit = 'steps'  # or seconds, tokens, flops

  c.problem = 'shakespeare'
  c.data = ConfigDict()
  c.data.source = 'auto'  # download, or python: text that ships with Python
  c.data.sequence_length = 64 if cpu else 256
  c.data.validation_fraction = 0.1  # the end of the text
  c.data.test_fraction = 0.05  # scored in the final evaluation only; not in nanoGPT
  c.data.evaluation_batch = 32  # rows per call of predict

  c.search = ConfigDict()
  c.search.strategy = 'tree'  # greedy is the original's
  c.search.options = ConfigDict()
  c.search.max_trials = 0  # trials, including the baseline; 0: until stopped
  c.search.prefetch = 1  # trials prepared while others run

  c.proposer = 'auto'  # a language model if a key is set, else mutate
  c.proposer_options = ConfigDict()

  c.acceptance = 'sequential'  # runs promising programs again until a sequential test decides
  c.acceptance_options = ConfigDict()
  c.acceptance_options.baseline_seeds = 4  # training runs of the baseline

  c.executor = 'local'  # on this machine
  c.executor_options = ConfigDict()
  c.executor_options.slots = 0 if platform == 'gpu' else 1  # 0: one trial per device

  c.final_seeds = 4  # training runs per program in the final evaluation

  c.limits = ConfigDict()
  c.limits.trace_seconds = 60.0  # wall-clock time of a trace
  return c.lock()
