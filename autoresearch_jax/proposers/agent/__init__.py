"""The proposer that runs a coding agent, given as a command, in a sandbox.

`proposer` has the options and the loop over attempts, `worktree` the folder the agent works in,
`hypothesis_file` what is read of its reasons, `transcript` what is kept of its output. May import
`prompt`, `sandbox`, the modules of `proposers` and what these may import.
"""
