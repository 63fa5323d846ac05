"""Strategies around another strategy: budgets, restarts, novelty, speculation."""
