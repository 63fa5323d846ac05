"""Trains the programs of a run in another setting, and compares their gains there with those here.

`measurements` trains and records, `analysis` compares. `autoresearch transfer` is the command.
"""
