"""Lessons."""

from collections.abc import Sequence

from autoresearch_jax.types import Lesson


def distil(entries, constants) -> tuple[Lesson, ...]:
  return ()


def ordered(lessons: Sequence[Lesson]) -> tuple[Lesson, ...]:
  return tuple(lessons)
