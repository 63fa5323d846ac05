"""Keeps a run warm between commands, for coding agents that drive a run themselves.

    serve     a session that trains what is requested, and a Unix socket that answers checks
    checker   traces programs in processes that stay warm
    client    what commands use: checks, trials with their verdicts
    tools     what agents may ask of a run through MCP; mcp_server offers it

The run's folder is the only state. A service that dies loses nothing: the next command starts
another one, which resumes the run.
"""
