"""Test targets that run pytest."""

load("@rules_python//python:defs.bzl", "py_test")

_RUNNER = "//scripts/bazel:run_pytest.py"

def pytest_targets(data, deps):
    """Declares a test for each folder of tests/, `root_test` for the files beside them, and `quick_tests`.

    A test for a folder (`search_test` for tests/search) runs all that is in it. `quick_tests` runs what
    is not marked slow in the whole of tests/; it is tagged manual, so that `//...` runs nothing twice.

    Args:
        data: files that the tests read.
        deps: libraries that the tests import.
    """
    found = native.glob(["tests/**/test_*.py"])
    selections = {}
    for path in found:
        parts = path.split("/")
        if len(parts) > 2:
            selections[parts[1] + "_test"] = ["tests/" + parts[1]]
        else:
            selections.setdefault("root_test", []).append(path)
    for name, paths in selections.items():
        _pytest(name, paths, data, deps)
    _pytest("quick_tests", ["-m", "'not slow'", "tests"], data, deps, ["manual"])

def _pytest(name, arguments, data, deps, tags = []):
    py_test(
        name = name,
        srcs = [_RUNNER],
        main = _RUNNER,
        args = arguments,
        data = data,
        deps = deps,
        # An __init__.py that Bazel adds to tests/ would make one package of all test files.
        legacy_create_init = 0,
        # The tests start processes (cpu:2) and check what the project's own sandbox denies; inside
        # Bazel's sandbox, that one would be the first to deny it.
        tags = ["cpu:2", "no-sandbox"] + tags,
        timeout = "eternal",
    )
