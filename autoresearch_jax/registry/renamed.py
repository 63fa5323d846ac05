"""Former names of the options of this library's parts.

A former name in a config is refused with a sentence that gives the present one. In the config of an
old ledger it is replaced (`ledger/schema_1.py`).
"""

from collections.abc import Mapping

_FORMER_PREFIX = {'max': 'most', 'min': 'least'}


def _former(bound: str) -> str:
  """Returns the former name of a bound, whose prefix was another word."""
  prefix, _, rest = bound.partition('_')
  return f'{_FORMER_PREFIX[prefix]}_{rest}'


_SAMPLER = {'startup': 'n_startup_trials', 'memory_risk': 'max_oom_probability'}
_CMA_ES = {**_SAMPLER, 'population': 'popsize', 'margin': 'with_margin'}
_TREE = {
  'drafts': 'num_drafts',
  'debug_probability': 'debug_prob',
  'debug_depth': 'max_debug_depth',
  'shown': 'context_size',
}
# By kind of part and its registered name: former -> present name.
RENAMED_OPTIONS: Mapping[str, Mapping[str, Mapping[str, str]]] = {
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
    'centaur': {**_CMA_ES, 'share': 'llm_ratio', 'shown': 'num_best_points'},
    'cma_es': _CMA_ES,
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
    'gp': _SAMPLER,
    'greedy': {'shown': 'context_size'},
    'hgm': {'exponent': 'alpha', 'shown': 'context_size'},
    'hyperagents': {'modify': 'modify_prob', 'step': 'modify_scale', 'shown': 'context_size'},
    'islands': {'count': 'num_islands', 'migrate_every': 'migration_interval'},
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
    'pareto': {'merge': 'merge_prob', 'attempts': 'max_merge_attempts', 'shown': 'context_size'},
    'rungs': {'reduction': 'reduction_factor', 'rungs': 'num_rungs'},
    'sequential': {'shown': 'context_size'},
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
      **_TREE,
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
    'tpe': {**_SAMPLER, 'candidates': 'n_ei_candidates', 'liar': 'constant_liar'},
    'tree': _TREE,
  },
  'acceptance': {
    'sequential': {_former('min_gain'): 'min_gain', 'spending': 'spending_function'},
    'simplicity': {'least': 'min_nodes_saved'},
  },
  'proposer': {
    'agent': {
      _former('max_calls'): 'max_calls',
      _former('max_dollars'): 'max_dollars',
      'prompt': 'prompt_via',
      'tokens': 'max_prompt_tokens',
      'seconds': 'timeout_seconds',
      'dollars_a_call': 'dollars_per_call',
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
      _former('max_calls'): 'max_calls',
      _former('max_dollars'): 'max_dollars',
      _former('max_tokens'): 'max_total_tokens',
      'max_tokens': 'max_total_tokens',
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
    'digits': {'locked_examples': 'test_examples'},
    'language_model': {'locked_tokens': 'test_tokens'},
  },
}
