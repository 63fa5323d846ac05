"""Proposers that ask a language model: the calls, the answers, roles, and the choice of models.

`gemini` and `openai` are proposers, `model_proposer` is what they share, and `gemini_backend` and
`openai_backend` are their APIs. `client` makes one call, `answer` reads what comes back, `apply`
turns it into a program, `roles` and `bandit` choose who is asked. May import `prompt`, the modules
of `proposers` and what these may import.

The API key is read from the environment at each call and stored nowhere.
"""

import os

API_KEY_VARIABLES = ('GEMINI_API_KEY', 'GOOGLE_API_KEY')  # the first that is set counts
OPENAI_KEY_VARIABLE = 'OPENAI_API_KEY'


def api_key(variables: tuple[str, ...] = API_KEY_VARIABLES) -> str:
  """Returns the API key from the first environment variable that is set; '' if none is."""
  return next((v for name in variables if (v := os.environ.get(name, '').strip())), '')
