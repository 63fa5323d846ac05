"""Measurements of this machine, one module each: `autoresearch measure NAME`.

May import every other package but `cli` commands; nothing imports it but `cli.measure`.
"""
