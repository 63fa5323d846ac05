"""The proposer `openai`: asks models of servers that speak OpenAI's Chat Completions protocol."""

import dataclasses
import importlib.util
import ipaddress
import os
import urllib.parse

from autoresearch_jax.proposers.base import PROPOSERS
from autoresearch_jax.proposers.llm import OPENAI_KEY_VARIABLE
from autoresearch_jax.proposers.llm.backend import Backend, check_url, shown_url
from autoresearch_jax.proposers.llm.model_proposer import ModelProposer
from autoresearch_jax.proposers.llm.openai_backend import OpenAIBackend

URL_VARIABLE = 'OPENAI_BASE_URL'
INSTALL = "pip install 'autoresearch_jax[openai]'"
# Dollars per million input and output tokens, for prompts of up to 272,000 tokens: the standard
# prices of https://developers.openai.com/api/docs/pricing as of November 2026, as the price tables
# at https://docs.litellm.ai/blog/gpt-6-1-terra, https://github.com/BerriAI/litellm/discussions/52347
# and https://github.com/merefield/codexometer/releases/tag/v0.18.4 repeat them. Input counts at the
# price of a cache write, 125 %, which is the most it can cost; cached input is cheaper than this.
PRICES: dict[str, tuple[float, float]] = {
  'gpt-6.2-astra': (10.00, 40.00),
  'gpt-6.2-sol': (2.50, 10.00),
  'gpt-6.1-sol': (2.50, 10.00),
  'gpt-6.1-terra': (1.25, 5.00),
  'gpt-6-sol': (2.50, 10.00),
  'gpt-6-luna': (0.125, 0.50),
}


@PROPOSERS.register('openai')
@dataclasses.dataclass(frozen=True)
class OpenAI(ModelProposer):
  """Asks models of any server that speaks OpenAI's Chat Completions protocol for edits.

  For instance OpenAI's own API, vLLM, Ollama and llama.cpp. The API key is read at each call and
  stored nowhere. A server on this machine or in a private network needs none, and its models are
  taken to be free unless they have a price.

  Attributes:
    base_url: URL of the server, which often ends in /v1; '' for OPENAI_BASE_URL, or else OpenAI's.
    key_variable: Environment variable of the API key.
  """

  name = 'openai'
  known_prices = PRICES

  models: tuple[str, ...] = ('gpt-6.1-terra',)
  key_variable: str = OPENAI_KEY_VARIABLE

  def _backend(self) -> Backend:
    if not is_installed():
      raise ValueError(f'The proposer openai needs the package openai: {INSTALL}.')
    if not self.key_variable:
      raise ValueError("key_variable is ''; name the environment variable of the API key.")
    # Before the key, which a public server alone needs.
    check_url('base_url' if self.base_url else URL_VARIABLE, self.url)
    return OpenAIBackend(self.url, (self.key_variable,), needs_key=not self.is_local)

  @property
  def url(self) -> str:
    """The server's URL; '' for OpenAI's."""
    return self.base_url or os.environ.get(URL_VARIABLE, '').strip()

  @property
  def is_local(self) -> bool:
    """Whether the server is on this machine or in a private network, by its URL."""
    return is_private(self.url)

  def _label(self) -> str:
    where = f' at {shown_url(self.url)}' if self.url else ''
    free = ', taken to be free' if self.is_local and self._unpriced else ''
    return f'{super()._label()}{where}{free}'

  def _check_prices(self) -> None:
    if not self.is_local:
      super()._check_prices()


def is_installed() -> bool:
  """Whether the SDK is installed."""
  try:
    return importlib.util.find_spec('openai') is not None
  except ValueError:  # a module without a spec, or one that was blocked
    return False


def is_private(url: str) -> bool:
  """Whether the host of a URL is this machine or in a private network; no name is looked up."""
  try:
    host = urllib.parse.urlsplit(url).hostname or ''
  except ValueError:
    return False
  try:
    address = ipaddress.ip_address(host)
  except ValueError:  # a name; those without a dot, and these endings, are never public
    return bool(host) and ('.' not in host or host.endswith(('.localhost', '.local', '.internal')))
  return address.is_private or address.is_loopback or address.is_link_local
