"""A model that writes the codes of the item a query is about.

The words of a query are those of an item, each another one with a known chance,
so the exact odds that it is about an item are known.
"""

import jax
import jax.numpy as jnp

from ttc import models
from ttc.testbeds.train import Directory, Recipe, trained_transformer
from ttc.testbeds.world import Size

NUM_ITEMS, NUM_WORDS, NUM_VALUES = 256, 6, 16
WORD_LENGTH = 3  # codes: the item's first words; its others, one must remember
NOISE = 0.4  # chance that a word of a query is another one
START = NUM_VALUES  # the token that ends a query

CONFIG = models.TransformerConfig(
  vocab_size=NUM_VALUES + 1,
  num_layers=2,
  embed_dim=64,
  mlp_dim=128,
  num_heads=4,
  num_kv_heads=4,
  head_dim=16,
  max_length=16,
)


def retriever(
  seed: int, size: Size, cache: Directory, corpus: jax.Array
) -> models.Loaded:
  """The model of a corpus, which the seed has made."""

  def batch_fn(key):
    items, queries = draw_queries(key, corpus, 128)
    tokens = jnp.concatenate([queries, corpus[items, :WORD_LENGTH]], axis=1)
    is_code = jnp.arange(tokens.shape[1]) > NUM_WORDS
    return tokens, jnp.broadcast_to(is_code, tokens.shape)

  recipe = Recipe((size.steps(600),), warmup=50, weight_decay=0.0)
  return trained_transformer(
    'retriever', CONFIG, recipe, [batch_fn], seed, cache
  )


def make_corpus(key):
  """The words of the items; their first ones tell them apart."""
  code_key, word_key = jax.random.split(key)
  codes = jax.random.choice(
    code_key, NUM_VALUES**WORD_LENGTH, (NUM_ITEMS,), replace=False
  )
  place = NUM_VALUES ** jnp.arange(WORD_LENGTH)
  others = jax.random.randint(
    word_key, (NUM_ITEMS, NUM_WORDS - WORD_LENGTH), 0, NUM_VALUES
  )
  return jnp.concatenate([codes[:, None] // place % NUM_VALUES, others], axis=1)


def draw_queries(key, corpus, num):
  """Items, and what is said of them: some words are others."""
  item_key, noise_key, other_key = jax.random.split(key, 3)
  items = jax.random.randint(item_key, (num,), 0, NUM_ITEMS)
  shape = (num, NUM_WORDS)
  is_other = jax.random.bernoulli(noise_key, NOISE, shape)
  shift = jax.random.randint(other_key, shape, 1, NUM_VALUES)
  words = (corpus[items] + is_other * shift) % NUM_VALUES
  return items, jnp.pad(words, ((0, 0), (0, 1)), constant_values=START)


def log_odds(queries, corpus):
  """Exact log-odds that a query is about each item."""
  same = jnp.sum(queries[:, None, :NUM_WORDS] == corpus, axis=-1)
  per_word = jnp.log((1 - NOISE) / (NOISE / (NUM_VALUES - 1)))
  log_probs = jax.nn.log_softmax(same * per_word, axis=1)
  return log_probs - jnp.log(-jnp.expm1(jnp.minimum(log_probs, -1e-6)))
