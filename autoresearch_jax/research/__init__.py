"""Carries out a run: builds its components from a config, starts or resumes it, and decides.

May import every package but `cli`, `benchmark` and `measure`.
"""
