"""Strategies that modify another strategy, given by the options `inner` and `inner_options`.

Imports what `search` may import. Wrappers may be nested.
"""
