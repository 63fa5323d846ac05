"""Strategies that sample a program's constants: Optuna's TPE, CMA-ES and GP, and Centaur.

Imports what `search` may import, and Optuna.
"""
