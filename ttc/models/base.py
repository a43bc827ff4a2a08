"""What the library asks of a language model: three pure functions.

Samplers never see a module. A model that is not a transformer (see `table.py`)
or is not ours (see `adapters.py`) takes part by filling in a `LanguageModel`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ttc.models.experts import RouteOverride, Routing
from ttc.models.sharding import on_auto_axes
from ttc.types import Params, Prompt


class Cache(NamedTuple):
  """What a model remembers of `B` prompts and of `N` continuations of each.

  `prefix` and `suffix` are the model's own pytrees; the library only gathers
  them along their leading axes. A model without memory uses `()` for both.
  """

  prefix: Any  # leaves `[B, ...]`, or None: there is no prompt
  prefix_lengths: Int[Array, ' B']
  suffix: Any  # leaves `[B, N, ...]`, or None: nothing is remembered yet
  suffix_lengths: Int[Array, 'B N']
  routes: RouteOverride | None = None  # None: experts are the router's choice


# Token ids, or, for models that have `embed`, the embeddings in their place.
Inputs: TypeAlias = Int[Array, 'B N T'] | Float[Array, 'B N T D']
# `(params, inputs, num_tokens [B, N], cache) -> (features, cache)`.
FeaturesFn = Callable[
  [Params, Inputs, Int[Array, 'B N'], Cache],
  tuple[Float[Array, 'B N T D'], Cache],
]


class Router(NamedTuple):
  """What a model with experts has more.

  Attributes:
    shape: layers `L` and experts `E`.
    features: `LanguageModel.features` with what the routers did, `[B, N, T]`.
  """

  shape: tuple[int, int]
  features: Callable[..., tuple[Float[Array, 'B N T D'], Cache, Routing]]


class LanguageModel(NamedTuple):
  """A language model as pure functions; hashable, so a static argument of jit.

  Attributes:
    init: `key -> params`.
    features: feeds `T` tokens to each row, of which the first `num_tokens`
      count: they are written behind `suffix_lengths`, the rest nowhere. Returns
      `[B, N, T, D]` features, from which `logits` predicts each next token,
      and the cache with its lengths advanced. With `suffix = None` the new
      suffix has exactly `T` entries, and the pass is an ordinary causal
      forward pass, differentiable and without scatter.
    logits: `(params, features [..., D]) -> [..., V]`, float32.
    make_suffix: `(B, N, capacity) -> suffix`, an empty one.
    vocab_size: `V`.
    max_length: longest context, prompt and response together.
    batch_axis: where the leaves of `prefix` and `suffix` have their `B` axis:
      0, or 1 if layers are stacked in front.
    embed: `(params, token ids) -> [..., D]`, the embeddings that `features`
      takes in their place; None if the model reads nothing but ids.
    router: None if the model has no experts, and so nothing to override.
    join: `(prefix, more, lengths [B]) -> prefix`: the memory of full prompts
      and that of what was read behind them, leaves `[B, ...]`, as one memory
      of `lengths` tokens; None if a prompt has to be read at once.
  """

  init: Callable[[PRNGKeyArray], Params]
  features: FeaturesFn
  logits: Callable[[Params, Float[Array, '*A D']], Float[Array, '*A V']]
  make_suffix: Callable[[int, int, int], Any]
  vocab_size: int
  max_length: int
  batch_axis: int = 0
  embed: Callable[[Params, Int[Array, '*A']], Float[Array, '*A D']] | None = (
    None
  )
  router: Router | None = None
  join: Callable[[Any, Any, Int[Array, ' B']], Any] | None = None


class Front(NamedTuple):
  """What a model remembers of the tokens that many prompts begin with."""

  memory: Any  # of one prompt without padding, leaves `[1, ...]`
  length: Int[Array, '']


@on_auto_axes
def read(
  model: LanguageModel,
  params: Params,
  inputs: Int[Array, 'B T'] | Float[Array, 'B T D'],
  lengths: Int[Array, ' B'] | None = None,
) -> Float[Array, 'B T D']:
  """Features of `B` whole sequences: the plain forward pass, without a cache.

  Args:
    model: that reads.
    params: its own.
    inputs: token ids, or embeddings in their place.
    lengths: how many of the `T` count; None for all.

  Returns:
    Features; those behind the lengths mean nothing.
  """
  B, T = inputs.shape[:2]
  zeros = jnp.zeros((B, 1), jnp.int32)
  num_tokens = zeros + T if lengths is None else lengths[:, None]
  empty = Cache(None, zeros[:, 0], None, zeros)
  features, _ = model.features(params, inputs[:, None], num_tokens, empty)
  return features[:, 0]


@on_auto_axes
def forward(
  model: LanguageModel, params: Params, tokens: Int[Array, 'B T']
) -> Float[Array, 'B T V']:
  """Logits of every next token of `B` sequences."""
  return model.logits(params, read(model, params, tokens))


def embed(
  model: LanguageModel, params: Params, tokens: Int[Array, '*A']
) -> Float[Array, '*A D']:
  """The input embeddings of tokens; ValueError if the model has none."""
  if model.embed is None:
    raise ValueError(
      'the model reads token ids only; for embeddings it needs '
      'LanguageModel.embed, as that of `transformer`'
    )
  return model.embed(params, tokens)


def read_front(
  model: LanguageModel, params: Params, tokens: Int[Array, ' P']
) -> Front:
  """Reads tokens that many prompts begin with, for `encode_prompt`.

  Raises:
    ValueError: if there are none, or, outside of compiled programs, if one is
      no id of the vocabulary.
  """
  if not tokens.size:
    raise ValueError('a front has at least one token')
  if not isinstance(tokens, Tracer):
    wrong = tokens[(tokens < 0) | (tokens >= model.vocab_size)]
    if wrong.size:
      raise ValueError(
        f'ids {np.unique(wrong).tolist()} of a front are outside the '
        f'vocabulary of {model.vocab_size}'
      )
  length = jnp.asarray(tokens.shape[0], jnp.int32)
  memory, _ = encode_prompt(model, params, Prompt(tokens[None], length[None]))
  return Front(memory, length)


def encode_prompt(
  model: LanguageModel,
  params: Params,
  prompt: Prompt,
  routes: RouteOverride | None = None,
  front: Front | None = None,
) -> tuple[Any, Float[Array, 'B V']]:
  """Runs `B` prompts once: the prefix of their cache, and next-token logits.

  Args:
    model: that reads.
    params: its own.
    prompt: of different lengths.
    routes: without rows, or `[B, 1]`.
    front: what all prompts begin with, of which `prompt` is the rest; it is
      copied into each prefix, not read again.

  Returns:
    The prefix, leaves `[B, ...]`, of `front.length + prompt.lengths` tokens,
    and logits.

  Raises:
    ValueError: if the model cannot read behind a front.
  """
  B = prompt.tokens.shape[0]
  zeros = jnp.zeros((B, 1), jnp.int32)
  memory, start = None, zeros[:, 0]
  if front is not None:
    if model.join is None:
      raise ValueError(
        'the model reads prompts at once; to read behind a front it needs '
        'LanguageModel.join, as that of `transformer`'
      )
    repeat = lambda leaf: jnp.repeat(leaf, B, axis=model.batch_axis)
    memory, start = jax.tree.map(repeat, front.memory), start + front.length
  features, cache = model.features(
    params,
    prompt.tokens[:, None],
    prompt.lengths[:, None],
    Cache(memory, start, None, zeros, routes),
  )
  last = jnp.maximum(prompt.lengths - 1, 0)[:, None, None]
  last_features = jnp.take_along_axis(features[:, 0], last, axis=1)[:, 0]
  prefix = jax.tree.map(
    lambda leaf: jnp.squeeze(leaf, model.batch_axis + 1), cache.suffix
  )
  if model.join is not None and front is not None:
    prefix = model.join(memory, prefix, start + prompt.lengths)
  return prefix, model.logits(params, last_features)
