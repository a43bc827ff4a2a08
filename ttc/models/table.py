r"""A language model that is one table, with all its responses enumerable.

The next token depends on the last one only,

.. math:: p(y_t \mid y_{<t}) = \mathrm{softmax}(W)_{y_{t-1}, y_t},

so everything that a sampler or a search may estimate has an exact value: the
sum over `enumerate_sequences`. Costs nothing to run; meant for tests, and for
seeing a method work where the truth is known.
"""

import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ttc.models.base import Cache, LanguageModel


class Sequences(NamedTuple):
  """All `R` responses of a table; their probabilities sum to one."""

  tokens: Int[np.ndarray, 'R T']  # 0 at and beyond `lengths`
  lengths: Int[np.ndarray, ' R']  # the end token included
  log_probs: Float[Array, ' R']  # of whole responses


def table_model(vocab_size: int, max_length: int = 1024) -> LanguageModel:
  """The language model whose parameters are logits `[V, V]`.

  Row `i` holds the logits of the token after token `i`: the last token of a
  prompt selects the row that a response starts from.

  Args:
    vocab_size: `V`.
    max_length: longest context.

  Returns:
    The model; its memory is empty. `init` draws standard normal logits.
  """

  def init(key: PRNGKeyArray) -> Float[Array, 'V V']:
    return jax.random.normal(key, (vocab_size, vocab_size))

  def features(table, tokens, num_tokens, cache: Cache):
    lengths = cache.suffix_lengths + num_tokens
    return table[tokens], cache._replace(suffix=(), suffix_lengths=lengths)

  return LanguageModel(
    init=init,
    features=features,
    logits=lambda table, features: features.astype(jnp.float32),
    make_suffix=lambda B, N, capacity: (),
    vocab_size=vocab_size,
    max_length=max_length,
    join=lambda prefix, more, lengths: (),
  )


def enumerate_sequences(
  table: Float[Array, 'V V'],
  start: int,
  eos_id: int | None,
  max_length: int,
) -> Sequences:
  """Every response that the table can give, with its exact log-probability.

  There are up to `V^T` of them. The log-probabilities are differentiable in
  `table`; the rest depends on the static arguments only.

  Args:
    table: logits `[V, V]`.
    start: last token of the prompt.
    eos_id: token that ends a response; None for responses of full length only.
    max_length: `T`; a response that has no end token by then is cut.

  Returns:
    The responses in lexicographic order.
  """
  everything = itertools.product(range(table.shape[0]), repeat=max_length)
  tokens = np.array(list(everything), np.int32).reshape(-1, max_length)
  ends = tokens == eos_id if eos_id is not None else np.zeros_like(tokens, bool)
  first = np.argmax(ends, axis=1) + 1
  lengths = np.where(ends.any(axis=1), first, max_length).astype(np.int32)
  inside = np.arange(max_length) < lengths[:, None]
  legal = np.all(inside | (tokens == 0), axis=1)
  tokens, lengths, inside = tokens[legal], lengths[legal], inside[legal]

  previous = np.concatenate(
    [np.full((len(tokens), 1), start), tokens[:, :-1]], axis=1
  )
  log_probs = _path_log_probs(table, previous, tokens, inside)
  return Sequences(tokens, lengths, log_probs)


@jax.jit  # there is one shape for each start and length
def _path_log_probs(
  table: Float[Array, 'V V'],
  previous: Int[Array, 'S T'],
  tokens: Int[Array, 'S T'],
  inside: Bool[Array, 'S T'],
) -> Float[Array, ' S']:
  steps = jax.nn.log_softmax(table)[previous, tokens]
  return jnp.sum(jnp.where(inside, steps, 0.0), axis=1)
