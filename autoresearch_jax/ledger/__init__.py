"""The append-only event log of a run, and what is derived from it alone: history, results.tsv, git.

May import `types`, `config`, `messages`, `clock`; never strategies, proposers or acceptance rules.
"""
