"""The names of ledger schema 1, and what they are called in schema 2. Data for `upgrade.py`."""

# Fields of a config by path: former -> present name of the last part.
FIELDS = {
  'early_stop': 'pruning',
  'knowledge.near': 'duplicate_tolerance',
  'limits.loss': 'max_loss',
  'search.ahead': 'prefetch',
  'search.duplicates': 'allow_duplicates',
}
# Kind of a part -> the fields of a config that hold its name and its options.
PARTS = {
  'strategy': ('search.strategy', 'search.options'),
  'acceptance': ('acceptance', 'acceptance_options'),
  'proposer': ('proposer', 'proposer_options'),
  'problem': ('problem', 'data'),
}
# Parts that wrap another one of their kind, whose options are in `inner_options` -> the default of
# `inner`.
WRAPPERS = {
  ('strategy', 'islands'): 'greedy',
  ('strategy', 'novelty'): 'greedy',
  ('strategy', 'restarts'): 'greedy',
  ('strategy', 'rungs'): 'greedy',
  ('strategy', 'speculative'): 'tree',
  ('acceptance', 'simplicity'): 'noise',
}
# Parts whose options are those of others of their kind, by name.
NESTED = {('proposer', 'auto'): ('gemini', 'mutate')}
# Values of options: (former option, former value) -> present value.
VALUES = {
  ('strategy', 'dgm'): {('keep', 'all'): 'keep_all', ('keep', 'better'): 'keep_better'},
}
# Options of parts, by kind and name: former -> present name.
OPTIONS: dict[str, dict[str, dict[str, str]]] = {
  'strategy': {
    'annealing': {
      'temperature': 'initial_temperature',
      'cooling': 'cooling_rate',
      'unit': 'temperature_unit',
      'shown': 'context_size',
    },
    'asha': {
      'reduction': 'reduction_factor',
      'rungs': 'num_rungs',
      'brackets': 'num_brackets',
      'base': 'parent',
      'shown': 'context_size',
    },
    'centaur': {
      'startup': 'n_startup_trials',
      'memory_risk': 'max_oom_probability',
      'population': 'popsize',
      'margin': 'with_margin',
      'share': 'llm_ratio',
      'shown': 'num_best_points',
    },
    'cma_es': {
      'startup': 'n_startup_trials',
      'memory_risk': 'max_oom_probability',
      'population': 'popsize',
      'margin': 'with_margin',
    },
    'dgm': {
      'keep': 'update_archive',
      'leeway': 'eval_noise',
      'first_fidelity': 'shallow_fidelity',
      'threshold': 'test_more_threshold',
      'shown': 'context_size',
    },
    'funsearch': {
      'islands': 'num_islands',
      'temperature': 'cluster_sampling_temperature_init',
      'period': 'cluster_sampling_temperature_period',
      'reset_after': 'reset_period',
      'digits': 'signature_digits',
    },
    'gp': {
      'startup': 'n_startup_trials',
      'memory_risk': 'max_oom_probability',
    },
    'greedy': {
      'shown': 'context_size',
    },
    'hgm': {
      'exponent': 'alpha',
      'shown': 'context_size',
    },
    'hyperagents': {
      'modify': 'modify_prob',
      'step': 'modify_scale',
      'shown': 'context_size',
    },
    'islands': {
      'count': 'num_islands',
      'migrate_every': 'migration_interval',
    },
    'map_elites': {
      'explore': 'exploration_ratio',
      'exploit': 'exploitation_ratio',
      'population': 'population_size',
      'archive': 'archive_size',
      'islands': 'num_islands',
      'bins': 'feature_bins',
      'migrate_every': 'migration_interval',
      'migrants': 'migration_rate',
      'top': 'num_top_programs',
      'diverse': 'num_diverse_programs',
      'reference': 'diversity_reference_size',
    },
    'novelty': {
      'threshold': 'code_embed_sim_threshold',
      'attempts': 'max_novelty_attempts',
      'memory': 'max_remembered',
    },
    'pareto': {
      'merge': 'merge_prob',
      'attempts': 'max_merge_attempts',
      'shown': 'context_size',
    },
    'rungs': {
      'reduction': 'reduction_factor',
      'rungs': 'num_rungs',
    },
    'sequential': {
      'shown': 'context_size',
    },
    'shinka': {
      'islands': 'num_islands',
      'archive': 'archive_size',
      'rewrite': 'full_patch_prob',
      'cross': 'cross_patch_prob',
      'threshold': 'code_embed_sim_threshold',
      'every': 'migration_interval',
      'migrants': 'migration_rate',
      'best': 'num_top_k_inspirations',
      'inspirations': 'num_archive_inspirations',
      'lessons': 'meta_max_recommendations',
    },
    'stages': {
      'drafts': 'num_drafts',
      'debug_probability': 'debug_prob',
      'debug_depth': 'max_debug_depth',
      'shown': 'context_size',
      'tuning': 'stage2_max_iters',
      'creative': 'stage3_max_iters',
      'ablation': 'stage4_max_iters',
    },
    'surrogate': {
      'drafts': 'num_drafts',
      'patience': 'children_to_halve',
      'clip': 'clip_stds',
      'shown': 'context_size',
    },
    'tpe': {
      'startup': 'n_startup_trials',
      'memory_risk': 'max_oom_probability',
      'candidates': 'n_ei_candidates',
      'liar': 'constant_liar',
    },
    'tree': {
      'drafts': 'num_drafts',
      'debug_probability': 'debug_prob',
      'debug_depth': 'max_debug_depth',
      'shown': 'context_size',
    },
  },
  'acceptance': {
    'sequential': {
      'least_gain': 'min_gain',
      'spending': 'spending_function',
    },
    'simplicity': {
      'least': 'min_nodes_saved',
    },
  },
  'proposer': {
    'agent': {
      'prompt': 'prompt_via',
      'tokens': 'max_prompt_tokens',
      'seconds': 'timeout_seconds',
      'dollars_a_call': 'dollars_per_call',
      'most_calls': 'max_calls',
      'most_dollars': 'max_dollars',
      'repairs': 'max_repairs',
      'readable': 'readable_paths',
      'hidden': 'hidden_paths',
      'environment': 'pass_env',
      'memory_bytes': 'max_memory_bytes',
      'processes': 'max_processes',
      'file_bytes': 'max_file_bytes',
      'folder_bytes': 'max_folder_bytes',
      'transcript_bytes': 'max_transcript_bytes',
    },
    'gemini': {
      'most_calls': 'max_calls',
      'most_tokens': 'max_total_tokens',
      'most_dollars': 'max_dollars',
      'output_tokens': 'max_output_tokens',
      'context_tokens': 'max_prompt_tokens',
      'seconds': 'timeout_seconds',
      'pause': 'initial_delay',
      'repairs': 'max_repairs',
      'distil_every': 'lessons_interval',
    },
    'mutate': {
      'smallest_factor': 'min_factor',
      'largest_factor': 'max_factor',
      'heed': 'question_weight',
      'tries': 'max_tries',
    },
    'placebo': {'redraw': 'reseed'},
    'replay': {'again': 'cycle'},
  },
  'problem': {
    'digits': {
      'locked_examples': 'test_examples',
    },
    'language_model': {
      'locked_tokens': 'test_tokens',
    },
  },
}


def metric(name: str) -> str:
  """The present name of a metric: `test_bpb` for `locked_bpb`."""
  return f'test_{name.removeprefix("locked_")}' if name.startswith('locked_') else name
