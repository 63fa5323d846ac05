"""Contract tests for extension points, for the tests of other packages too, and a model server.

Subclass `strategies.StrategyContract` or `acceptance.AcceptanceContract` in a test module, and
pytest runs the whole contract on your class. Needs the extra `autoresearch_jax[test]`.

Imports the package's base classes and `research.decisions`; nothing in the package imports it.
"""
