"""Old names that keep working: `trial.contract` in programs, and `python -m` with this package."""
