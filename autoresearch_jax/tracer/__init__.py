"""Turns a program into an artifact. The only place where candidate Python runs, in a sandbox.

`client` is the controller's side and imports no jax. `server` is the fork server that it starts;
`export` and `errors` run in the server's sandboxed children.

May import `types`, `config`, `clock`, `messages`, `programs.contract`, `artifact`, `sandbox` and
`ops`.
"""
