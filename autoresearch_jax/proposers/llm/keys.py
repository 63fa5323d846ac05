"""Where the key of the Gemini API is: in the environment, and nowhere else."""

import os

KEYS = ('GEMINI_API_KEY', 'GOOGLE_API_KEY')  # the first that is set counts


def key() -> str:
  """The key; '' where there is none."""
  return next((found for name in KEYS if (found := os.environ.get(name, '').strip())), '')
