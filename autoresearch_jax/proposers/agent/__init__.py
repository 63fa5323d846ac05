"""The proposer that runs a coding agent, given as a command or a preset, in a sandbox.

`proposer` has the options and the loop over attempts, `presets` the known agents, `worktree` the
folder the agent works in, `toolbox` what it finds there, `running` its process, `hypothesis_file`
what is read of its reasons, `report` what is read of its output, `transcript` what is kept of it.
May import `prompt`, `sandbox`, the modules of `proposers` and what these may import.
"""
