"""Proposers that ask a language model: the calls, the answers, roles, and the choice of models.

`gemini` is the proposer; `client` makes one call, `answer` reads what comes back, `apply` turns it
into a program, `roles` and `bandit` choose who is asked. May import `prompt`, the modules of
`proposers` and what these may import.

The API key is read from the environment at each call and stored nowhere.
"""

import os

API_KEY_VARIABLES = ('GEMINI_API_KEY', 'GOOGLE_API_KEY')  # the first that is set counts


def api_key() -> str:
  """Returns the API key from the environment; '' if none is set."""
  return next((v for name in API_KEY_VARIABLES if (v := os.environ.get(name, '').strip())), '')
