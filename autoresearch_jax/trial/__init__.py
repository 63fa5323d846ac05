"""Old names that go on working: `trial.contract` in programs, and `python -m` with this package."""
