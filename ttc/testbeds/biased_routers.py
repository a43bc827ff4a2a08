"""Chains that a mixture of experts knows, and routers that expect few of them.

Four Markov chains over the same sixteen tokens, each with experts of its own;
which chain a text is of, only the text itself tells. Then the routers are
biased as by class imbalance: to their logits is added the logarithm of how much
more often each expert is used when one text in a hundred is of the last chain,
times a strength at which the loss of such texts is a third higher. A vector
that is added to the logits can take that away.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ttc import experts, models
from ttc.testbeds.expert_mixtures import (
  Batch,
  TrainedMixture,
  mixture_config,
  trained_mixture,
)
from ttc.testbeds.train import Directory, Recipe
from ttc.testbeds.world import Size
from ttc.types import Prompt

NUM_CHAINS, NUM_TOKENS = 4, 16
PROMPT, CONTINUATION = 32, 32  # tokens
RARE, RARE_SHARE = NUM_CHAINS - 1, 0.01  # the chain that is not expected
CONFIG = mixture_config(NUM_TOKENS, 2, PROMPT + CONTINUATION)
DAMAGE = 4 / 3  # loss of biased routers over that of others, on the rare chain
STRENGTHS = tuple(i / 2 for i in range(1, 17))


class Measured(NamedTuple):
  """Of the held-out continuation of each text."""

  nll: Float[Array, ' B']  # nats per token
  accuracy: Float[Array, ' B']  # of the likeliest next token


def draw_chains(seed: int) -> Float[Array, 'c v w']:
  """Transitions of all chains: three successors of each token."""
  key = jax.random.fold_in(jax.random.key(seed), 1)
  shape = (NUM_CHAINS, NUM_TOKENS, NUM_TOKENS)
  scores = jax.random.normal(key, shape, jnp.float32)
  place = jnp.argsort(jnp.argsort(-scores, axis=-1), axis=-1)
  shares = jnp.array([0.7, 0.2, 0.1], jnp.float32)
  return jnp.where(place < 3, shares[jnp.minimum(place, 2)], 0.0)


def draw_text(chains, key: PRNGKeyArray, chain) -> Int[Array, ' T']:
  """A text of a chain, its first token at random."""
  first_key, key = jax.random.split(key)
  first = jax.random.randint(first_key, (), 0, NUM_TOKENS, jnp.int32)

  def step(token, key):
    log_p = jnp.log(chains[chain, token])
    token = jax.random.categorical(key, log_p).astype(jnp.int32)
    return token, token

  keys = jax.random.split(key, PROMPT + CONTINUATION - 1)
  _, rest = jax.lax.scan(step, first, keys)
  return jnp.concatenate([first[None], rest])


def draw_batch(chains, key: PRNGKeyArray) -> Batch:
  """Texts of all chains alike."""
  chain_key, key = jax.random.split(key)
  of = jax.random.randint(chain_key, (16,), 0, NUM_CHAINS, jnp.int32)
  draw = functools.partial(draw_text, chains)
  tokens = jax.vmap(draw)(jax.random.split(key, 16), of)
  mask = jnp.arange(tokens.shape[1]) > 0
  return Batch(tokens, jnp.broadcast_to(mask, tokens.shape), of)


def trained(seed: int, size: Size, cache: Directory) -> TrainedMixture:
  """The model that knows all chains."""
  recipe = Recipe((size.steps(800),), clip=1.0)
  return trained_mixture(
    'chains', CONFIG, recipe,
    functools.partial(draw_batch, draw_chains(seed)),
    NUM_CHAINS, 0.1, seed, cache,
  )  # fmt: skip


def router_bias(mixture: TrainedMixture, seed: int) -> Float[Array, 'L E']:
  """The bias of the least strength that does the damage; else the strongest."""
  shift = imbalance(mixture, draw_chains(seed), jax.random.key(seed))
  texts = texts_of(seed, 64, RARE, 2)
  strengths = jnp.asarray((0.0, *STRENGTHS), jnp.float32)

  def loss_of(strength):
    bias = jnp.broadcast_to(strength * shift, (64, *shift.shape))
    return measure(mixture, texts, bias).nll.mean()

  losses = jax.jit(lambda x: jax.lax.map(loss_of, x))(strengths)
  enough = losses >= DAMAGE * losses[0]
  first = jnp.where(jnp.any(enough), jnp.argmax(enough), len(STRENGTHS))
  return strengths[first] * shift


def imbalance(
  mixture: TrainedMixture, chains, key: PRNGKeyArray
) -> Float[Array, 'L E']:
  """What class imbalance adds to logits, centred; of strength 1."""
  of = jnp.arange(64, dtype=jnp.int32) % NUM_CHAINS
  draw = functools.partial(draw_text, chains)
  texts = jax.vmap(draw)(jax.random.split(key, 64), of)
  routing = models.routing(mixture.model, mixture.params, texts)
  loads = jax.nn.softmax(routing.logits).mean(axis=1)  # [B, L, E]
  by_chain = loads.reshape(-1, NUM_CHAINS, *loads.shape[1:]).mean(axis=0)
  rest = (1 - RARE_SHARE) / (NUM_CHAINS - 1)
  shares = jnp.full((NUM_CHAINS,), rest).at[RARE].set(RARE_SHARE)
  skewed = jnp.einsum('c,cle->le', shares, by_chain)
  shift = jnp.log(skewed + 1e-3) - jnp.log(by_chain.mean(axis=0) + 1e-3)
  return shift - shift.mean(axis=-1, keepdims=True)


def texts_of(
  seed: int, num: int, chain: int, purpose: int
) -> Int[Array, 'B T']:
  """Texts of one chain."""
  key = jax.random.fold_in(jax.random.key(1000 + seed), purpose)
  keys = jax.random.split(jax.random.fold_in(key, chain), num)
  draw = functools.partial(draw_text, draw_chains(seed))
  return jax.vmap(lambda key: draw(key, chain))(keys)


def prompts(texts: Int[Array, 'B T']) -> Prompt:
  """The first half of texts."""
  lengths = jnp.full((texts.shape[0],), PROMPT, jnp.int32)
  return Prompt(texts[:, :PROMPT], lengths)


def measure(
  mixture: TrainedMixture,
  texts: Int[Array, 'B T'],
  bias: Float[Array, 'B L E'],
) -> Measured:
  """How well continuations are predicted under a bias of each text."""
  features, _ = models.read_routed(
    mixture.model, mixture.params, texts[:, :-1], None,
    experts.bias_routes(bias),
  )  # fmt: skip
  logits = mixture.model.logits(mixture.params, features)[:, PROMPT - 1 :]
  gold = texts[:, PROMPT:]
  nll = optax.softmax_cross_entropy_with_integer_labels(logits, gold)
  right = (jnp.argmax(logits, axis=-1) == gold).astype(jnp.float32)
  return Measured(nll.mean(axis=1), right.mean(axis=1))
