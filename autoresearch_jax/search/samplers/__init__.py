"""Strategies that propose constants through samplers: Optuna's, and the search space they share."""
