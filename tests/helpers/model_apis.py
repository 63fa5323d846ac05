"""The APIs that proposers of language models are tested against, with one name for what differs."""

import dataclasses

from autoresearch_jax.proposers.llm.backend import Backend
from autoresearch_jax.proposers.llm.gemini import Gemini
from autoresearch_jax.proposers.llm.gemini_backend import GeminiBackend
from autoresearch_jax.proposers.llm.model_proposer import ModelProposer
from autoresearch_jax.proposers.llm.openai import OpenAI
from autoresearch_jax.proposers.llm.openai_backend import OpenAIBackend


@dataclasses.dataclass(frozen=True)
class ModelApi:
  """An API and its proposer.

  Attributes:
    proposer: The proposer.
    backend: The API's class.
    model: A model with a known price.
    lite: Another one.
    key_variable: Environment variable of the key.
    path: What follows the server's address in a base_url.
  """

  proposer: type[ModelProposer]
  backend: type[Backend]
  model: str
  lite: str
  key_variable: str
  path: str = ''

  @property
  def name(self) -> str:
    return self.proposer.name

  def url(self, server) -> str:
    return server.url + self.path

  def make_backend(self, url: str) -> Backend:
    return self.backend(base_url=url)


APIS = {
  'gemini': ModelApi(
    Gemini, GeminiBackend, 'gemini-3.8-flash', 'gemini-3.5-flash-lite', 'GEMINI_API_KEY'
  ),
  'openai': ModelApi(
    OpenAI, OpenAIBackend, 'gpt-6.1-terra', 'gpt-6-luna', 'OPENAI_API_KEY', path='/v1'
  ),
}
KEY_VARIABLES = ('GEMINI_API_KEY', 'GOOGLE_API_KEY', 'OPENAI_API_KEY')
