"""Turns the best program of a run into commits or patches that a colleague would approve.

`lineage` has the edits that led to it, `ablation` finds those that carry nothing, `commits` words
and checks the steps, `branch` and `patch_files` write them.
"""
