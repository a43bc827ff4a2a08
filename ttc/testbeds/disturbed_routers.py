"""Tables that a mixture of experts knows, and routers that lose their way.

A question `t a b t` asks for two steps of table `t`, `y = f_t(a, b)` and
`z = f_t(y, b)`: six random tables of 10 by 10, each with experts of its own.
The model knows all of them. Then the router of the last layer is disturbed: to
its logits is added noise that is drawn for each question, from its last token
on. What is lost is the way to the right experts only.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ttc import experts, models
from ttc.experts import Answered, References
from ttc.testbeds.expert_mixtures import (
  NUM_EXPERTS,
  Batch,
  TrainedMixture,
  mixture_config,
  trained_mixture,
)
from ttc.testbeds.train import Directory, Recipe
from ttc.testbeds.world import Size

NUM_TASKS, NUM_VALUES = 6, 10
NUM_QUESTIONS = NUM_TASKS * NUM_VALUES**2
PROMPT, RESPONSE = 4, 2  # tokens
DISTURBED = 1  # layers, the last ones
CONFIG = mixture_config(NUM_VALUES + NUM_TASKS, 3, PROMPT + RESPONSE)
NOISE = 11.0  # standard deviation, of logits


class Bed(NamedTuple):
  """All questions, as the disturbed model reads and answers them."""

  mixture: TrainedMixture
  texts: Answered  # [N, 6]
  tasks: Int[Array, ' N']
  noise: models.RouteOverride  # of each question
  embeddings: Float[Array, 'N D']
  pathways: Float[Array, 'N L E']  # disturbed
  undisturbed: Float[Array, 'N L E']
  is_right: Bool[Array, ' N']  # of the disturbed model

  def references(self, ids: Int[Array, ' R']) -> References:
    """What the disturbed model knows of some questions."""
    take = lambda leaf: leaf[ids]
    return References(
      jax.tree.map(take, self.texts),
      take(self.embeddings),
      take(self.pathways),
    )


def draw_tables(seed: int) -> Int[Array, 't a b']:
  """Random tables of a seed."""
  key = jax.random.fold_in(jax.random.key(seed), 1)
  shape = (NUM_TASKS, NUM_VALUES, NUM_VALUES)
  return jax.random.randint(key, shape, 0, NUM_VALUES, jnp.int32)


def sequence(tables, task, a, b) -> Int[Array, ' 6']:
  """A question and its two steps."""
  y = tables[task, a, b]
  name = NUM_VALUES + task
  return jnp.stack([name, a, b, name, y, tables[task, y, b]])


def draw_batch(tables, key: PRNGKeyArray) -> Batch:
  """Questions at random."""
  ids = jax.random.randint(key, (128,), 0, NUM_QUESTIONS, jnp.int32)
  tokens = _of_ids(tables, ids)
  mask = jnp.arange(PROMPT + RESPONSE) >= PROMPT
  return Batch(
    tokens, jnp.broadcast_to(mask, tokens.shape), ids // NUM_VALUES**2
  )


def trained(seed: int, size: Size, cache: Directory) -> TrainedMixture:
  """The model that knows all tables."""
  recipe = Recipe((size.steps(1000),), clip=1.0)
  return trained_mixture(
    'tables', CONFIG, recipe,
    functools.partial(draw_batch, draw_tables(seed)),
    NUM_TASKS, 0.1, seed, cache,
  )  # fmt: skip


def disturbed(seed: int, size: Size, cache: Directory) -> Bed:
  """The model with its routers disturbed, and all questions."""
  mixture = trained(seed, size, cache)
  ids = jnp.arange(NUM_QUESTIONS, dtype=jnp.int32)
  tokens = _of_ids(draw_tables(seed), ids)
  full = lambda n: jnp.full((NUM_QUESTIONS,), n, jnp.int32)
  texts = Answered(tokens, full(PROMPT), full(PROMPT + RESPONSE))
  noise = draw_noise(seed)
  read = lambda override: experts.read_prompts(
    mixture.model, mixture.params, texts.prompt, override
  )
  return Bed(
    mixture,
    texts,
    ids // NUM_VALUES**2,
    noise,
    experts.mean_embeddings(mixture.model, mixture.params, texts.prompt),
    read(noise).pathways,
    read(None).pathways,
    jnp.all(steps_right(mixture, texts, noise), axis=1),
  )


def draw_noise(seed: int) -> models.RouteOverride:
  """Of each question, in the disturbed layers, from its last token on."""
  key = jax.random.fold_in(jax.random.key(seed), 2)
  L, E = CONFIG.num_layers, NUM_EXPERTS

  def one(i):
    return jax.random.normal(jax.random.fold_in(key, i), (L, E), jnp.float32)

  noise = NOISE * jax.vmap(one)(jnp.arange(NUM_QUESTIONS))
  layers = jnp.arange(L) >= L - DISTURBED
  made = experts.override_of(
    noise,
    jnp.zeros((NUM_QUESTIONS, L), bool),
    jnp.full((NUM_QUESTIONS,), PROMPT, jnp.int32),
    PROMPT + RESPONSE,
  )
  return made._replace(
    bias=jnp.where(layers[:, None], noise, 0.0)[:, None],
    values=jnp.zeros_like(made.values),
  )


def steps_right(
  mixture: TrainedMixture, texts: Answered, override: models.RouteOverride
) -> Bool[Array, 'B 2']:
  """Whether the likeliest tokens are the steps, each behind the right text."""
  features, _ = models.read_routed(
    mixture.model, mixture.params, texts.tokens[:, :-1], None, override
  )
  drawn = jnp.argmax(mixture.model.logits(mixture.params, features), axis=-1)
  return (drawn == texts.tokens[:, 1:])[:, PROMPT - 1 :]


def right_under(
  bed: Bed,
  ids: Int[Array, ' B'],
  pathways: Float[Array, 'B L E'],
  only_last: bool = False,
) -> Bool[Array, ' B']:
  """Whether questions are answered right under pathways in the disturbed layer.

  Args:
    bed: with all questions.
    ids: of some.
    pathways: of each, from its last token on.
    only_last: at its last token only; behind it the router is as disturbed as
      ever. No layer is behind the disturbed one, so no other token sees what it
      does with this one.

  Returns:
    Whether both steps are right.
  """
  texts = jax.tree.map(lambda leaf: leaf[ids], bed.texts)
  layers = jnp.arange(CONFIG.num_layers) >= CONFIG.num_layers - DISTURBED
  override = experts.override_of(
    pathways,
    jnp.broadcast_to(layers, pathways.shape[:2]),
    texts.prompt_lengths,
    PROMPT + RESPONSE,
  )
  steps = steps_right(bed.mixture, texts, override)
  if only_last:
    noise = jax.tree.map(lambda leaf: leaf[ids], bed.noise)
    free = steps_right(bed.mixture, texts, noise)
    steps = jnp.stack([steps[:, 0], free[:, 1]], axis=1)
  return jnp.all(steps, axis=1)


def answer_law(bed: Bed, ids: Int[Array, ' B']) -> Float[Array, 'B v w']:
  """Log-probability of every response of two tokens, of the disturbed model."""
  V = CONFIG.vocab_size
  texts = jnp.repeat(bed.texts.tokens[ids, :-1], V, axis=0)
  texts = texts.at[:, -1].set(jnp.tile(jnp.arange(V), len(ids)))
  noise = jax.tree.map(lambda leaf: jnp.repeat(leaf[ids], V, axis=0), bed.noise)
  features, _ = models.read_routed(
    bed.mixture.model, bed.mixture.params, texts, None, noise
  )
  logits = bed.mixture.model.logits(bed.mixture.params, features[:, -2:])
  log_p = jax.nn.log_softmax(logits).reshape(len(ids), V, 2, V)
  return log_p[:, 0, 0, :, None] + log_p[:, :, 1]


def vote_right(
  bed: Bed, ids: Int[Array, ' B'], key: PRNGKeyArray, num_samples: int
) -> Bool[Array, ' B']:
  """Whether the commonest of so many sampled responses is right."""
  V = CONFIG.vocab_size
  law = answer_law(bed, ids).reshape(len(ids), -1)
  gold = bed.texts.tokens[ids, -2] * V + bed.texts.tokens[ids, -1]

  def one(key, law, gold):
    drawn = jax.random.categorical(key, law, shape=(num_samples,))
    return jnp.argmax(jnp.bincount(drawn, length=V * V)) == gold

  keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(ids)
  return jax.vmap(one)(keys, law, gold)


def flops_per_token(all_experts: bool = False) -> float:
  """Of a forward pass, attention to few tokens left out."""
  c = CONFIG
  assert c.experts is not None
  experts_read = c.experts.num_experts if all_experts else c.experts.top_k
  layer = 4 * c.embed_dim**2 + c.experts.num_experts * c.embed_dim
  layer += 3 * experts_read * c.embed_dim * c.experts.mlp_dim
  return 2.0 * (c.num_layers * layer + c.vocab_size * c.embed_dim)


def _of_ids(tables, ids):
  """Questions by number."""
  task, pair = ids // NUM_VALUES**2, ids % NUM_VALUES**2
  return jax.vmap(functools.partial(sequence, tables))(
    task, pair // NUM_VALUES, pair % NUM_VALUES
  )
