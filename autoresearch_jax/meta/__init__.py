"""Meta search: playing candidate search strategies on the benchmark's instances.

- `server`: the fork server whose sandboxed children run the candidates' Python.
- `client`: the trusted side of one child, and the `Strategy` that calls it.
- `contract`: what a candidate must satisfy before it is played.
- `play`: instances, randomness and regret of the games.
- `player`: the process that an executor starts; it plays the programs that it is sent.

The executor `play` starts `player` by name and imports nothing from here.
"""
