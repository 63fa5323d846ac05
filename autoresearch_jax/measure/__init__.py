"""Measurements of this machine: `autoresearch measure NAME`. Each module is one of them.

May import every other package but `cli` commands; nothing imports it but `cli.measure`.
"""
