"""The offline proposer: random edits of constants and of a program's structure."""
