"""Texts as rows of words, for small models that learn them."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Int

from ttc import models
from ttc.testbeds.train import Directory, Recipe, trained_transformer
from ttc.testbeds.world import Size

PAD, EOS = '.', '/'  # of rows; a text may hold neither


class Rows(NamedTuple):
  """Texts, each a prompt and what is to be said."""

  tokens: Int[np.ndarray, 'n T']
  is_response: Bool[np.ndarray, 'n T']


def to_rows(
  pairs: Sequence[tuple[str, str]], words: Sequence[str], length: int
) -> Rows:
  """Rows of (prompt, response), split at blanks; the response ends with EOS.

  Args:
    pairs: the texts.
    words: the vocabulary, PAD and EOS among them.
    length: of a row.

  Raises:
    ValueError: if a text is too long.
  """
  ids = {word: i for i, word in enumerate(words)}
  tokens = np.full((len(pairs), length), ids[PAD], np.int32)
  is_response = np.zeros((len(pairs), length), bool)
  for row, mask, (prompt, response) in zip(
    tokens, is_response, pairs, strict=True
  ):
    first, rest = prompt.split(), [*response.split(), EOS]
    count = len(first) + len(rest)
    if count > length:
      raise ValueError(f'{count} words in a row of {length}: {prompt!r}')
    row[:count] = [ids[word] for word in (*first, *rest)]
    mask[len(first) : count] = True
  return Rows(tokens, is_response)


def train_on_rows(
  name: str,
  rows: Rows,
  words: Sequence[str],
  num_steps: int,
  seed: int,
  size: Size,
  cache: Directory,
  *,
  width: int = 64,
  learn_all: bool = False,
  drop: float = 0.0,
) -> models.Loaded:
  """A transformer of two layers that has learned random batches of rows.

  Args:
    name: in the cache, with all that the rows depend on.
    rows: what is learned, each as often as it is there.
    words: the vocabulary.
    num_steps: in the full size, of 32 rows each.
    seed: of the training.
    size: see `Size`.
    cache: directory.
    width: of the model.
    learn_all: predict every word, not only responses.
    drop: share of the words of prompts that are blanked out, others each time.

  Returns:
    The model.
  """
  tokens, pad_id = jnp.asarray(rows.tokens), list(words).index(PAD)
  is_response = jnp.asarray(rows.is_response)
  mask = jnp.ones_like(is_response) if learn_all else is_response

  def batch_fn(key):
    row_key, drop_key = jax.random.split(key)
    chosen = jax.random.randint(row_key, (32,), 0, tokens.shape[0])
    batch = tokens[chosen]
    is_dropped = jax.random.bernoulli(drop_key, drop, batch.shape)
    is_dropped &= ~is_response[chosen]
    return jnp.where(is_dropped, pad_id, batch), mask[chosen]

  config = models.TransformerConfig(
    vocab_size=len(words),
    num_layers=2,
    embed_dim=width,
    mlp_dim=3 * width,
    num_heads=4,
    num_kv_heads=4,
    head_dim=width // 4,
    max_length=tokens.shape[1],
  )
  recipe = Recipe((size.steps(num_steps),), learning_rate=3e-3)
  return trained_transformer(name, config, recipe, [batch_fn], seed, cache)


def said_and_likelihood(
  loaded: models.Loaded, rows: Rows
) -> tuple[Bool[np.ndarray, ' n'], np.ndarray]:
  """Whether greedy decoding gives each response, and its log-probability.

  Greedy decoding says the response exactly if each of its words is the
  likeliest behind those before it. Log-probabilities are means over words, in
  nats.
  """
  model = models.transformer(loaded.config)

  @jax.jit
  def score(params, tokens, mask):
    logits = models.forward(model, params, tokens[:, :-1])
    wanted, counted = tokens[:, 1:], mask[:, 1:]
    right = (jnp.argmax(logits, axis=-1) == wanted) | ~counted
    log_probs = jax.nn.log_softmax(logits)
    chosen = jnp.take_along_axis(log_probs, wanted[..., None], axis=-1)[..., 0]
    total = jnp.sum(jnp.where(counted, chosen, 0.0), axis=1)
    return right.all(axis=1), total / counted.sum(axis=1)

  right, log_probs = score(loaded.params, rows.tokens, rows.is_response)
  return np.asarray(right), np.asarray(log_probs)
