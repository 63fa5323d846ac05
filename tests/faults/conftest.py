"""The fixture that sees to it that a killed run leaves no process behind."""

from helpers.kills import orphans  # noqa: F401 - a fixture
