"""The proposer that hands a program to a coding agent on the command line, in a sandbox."""
