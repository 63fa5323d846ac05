"""The proposer `gemini`: asks Gemini models for edits, through google-genai."""

import dataclasses

from autoresearch_jax.proposers.base import PROPOSERS
from autoresearch_jax.proposers.llm.backend import Backend
from autoresearch_jax.proposers.llm.gemini_backend import GeminiBackend
from autoresearch_jax.proposers.llm.model_proposer import ModelProposer

# Dollars per million input and output tokens, for prompts of up to 200,000 tokens: the standard
# prices of https://ai.google.dev/gemini-api/docs/pricing as of October 2026. Temporary discounts
# (gemini-3.6 to 3.8-flash at half price until the end of 2026) are ignored, so that limits still
# hold after them.
PRICES: dict[str, tuple[float, float]] = {
  'gemini-3.8-flash': (1.50, 7.50),
  'gemini-3.7-flash': (1.50, 7.50),
  'gemini-3.6-flash': (1.50, 7.50),
  'gemini-3.5-flash': (1.50, 9.00),
  'gemini-3.5-flash-lite': (0.30, 2.50),
  'gemini-3.1-flash-lite': (0.25, 1.50),
  'gemini-3.1-pro-preview': (2.00, 12.00),
}


@PROPOSERS.register('gemini')
@dataclasses.dataclass(frozen=True)
class Gemini(ModelProposer):
  """Asks Gemini models for edits.

  The API key is read from GEMINI_API_KEY or GOOGLE_API_KEY at each call and stored nowhere.
  """

  name = 'gemini'
  known_prices = PRICES

  models: tuple[str, ...] = ('gemini-3.8-flash',)

  def _backend(self) -> Backend:
    return GeminiBackend(self.base_url)
