"""Facts `key value` in any number: recall by reading and by attention.

PERK learns each fact as a segment of its own and is asked for the value of a
key; a transformer of the same size finds it in its context. Both are trained on
contexts of 32 facts.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ttc import finetuning, models
from ttc.finetuning import PerkParams, Texts
from ttc.types import Params

NUM_KEYS, NUM_VALUES = 256, 8
TRAINED = 32  # facts of a context
RANK, STEPS = 16, 4  # of the adapter; K
_ASKED = 8  # questions of a context, in training
_CONTEXTS = 16  # of a batch
_CONFIG = models.TransformerConfig(
  vocab_size=NUM_KEYS + NUM_VALUES, num_layers=2, embed_dim=64, mlp_dim=256,
  num_heads=4, num_kv_heads=4, head_dim=16, max_length=2048, many_rows=True,
  tie_embeddings=False,
)  # fmt: skip
MODEL = models.transformer(_CONFIG)


class Recall(NamedTuple):
  """A context of facts, each of another key, and questions about them."""

  facts: Int[Array, 'S 2']  # key and value
  questions: Int[Array, 'Q 2']  # key and the value that is right


def draw(key: PRNGKeyArray, num_facts: int, num_questions: int) -> Recall:
  """Keys without repetition, values at random; questions may repeat."""
  key_key, value_key, question_key = jax.random.split(key, 3)
  keys = jax.random.permutation(key_key, NUM_KEYS)[:num_facts]
  values = NUM_KEYS + jax.random.randint(value_key, (num_facts,), 0, NUM_VALUES)
  facts = jnp.stack([keys, values], axis=1)
  asked = jax.random.randint(question_key, (num_questions,), 0, num_facts)
  return Recall(facts, facts[asked])


def as_texts(pairs: Int[Array, 'S 2']) -> Texts:
  """Pairs of which the second token counts."""
  return Texts(pairs, jnp.broadcast_to(jnp.arange(2) == 1, pairs.shape))


def train_perk(
  key: PRNGKeyArray, num_unrolled: int, num_steps: int = 200
) -> tuple[PerkParams, Float[Array, ' steps']]:
  """Meta-learns model, adapter and rates; returns them and the losses."""
  model_key, adapter_key, key = jax.random.split(key, 3)
  perk = finetuning.init_perk(
    adapter_key, MODEL.init(model_key), RANK, STEPS, rate=1.0
  )
  schedule = functools.partial(
    optax.cosine_decay_schedule, decay_steps=num_steps
  )
  optimizer = optax.chain(
    optax.clip_by_global_norm(0.3),
    optax.multi_transform(
      {
        'weights': optax.adam(schedule(2e-3)),
        'rates': optax.adam(schedule(1e-2)),
      },
      PerkParams('weights', 'weights', 'rates'),  # pyright: ignore
    ),
  )  # fmt: skip

  def loss_fn(perk, contexts):
    return jnp.mean(
      jax.vmap(
        lambda c: finetuning.perk_loss(
          MODEL, perk, as_texts(c.facts), as_texts(c.questions), num_unrolled
        )
      )(contexts)
    )

  return _train(loss_fn, lambda _: perk, optimizer, key, num_steps)


def train_in_context(
  key: PRNGKeyArray, num_steps: int = 2000
) -> tuple[Params, Float[Array, ' steps']]:
  """Learns to answer behind the facts; parameters and the losses.

  A fact is one entry, the sum of the embeddings of key and value, so that a
  layer of attention can find it; with two tokens a fact, 4000 steps taught a
  network of this size nothing.
  """
  schedule = optax.warmup_cosine_decay_schedule(
    0.0, 2e-3, min(100, num_steps // 2), num_steps
  )

  def loss_fn(params, contexts):
    logits = jax.vmap(lambda c: _in_context(params, c))(contexts)
    return jnp.mean(
      optax.softmax_cross_entropy_with_integer_labels(
        logits, contexts.questions[..., 1]
      )
    )

  optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))
  return _train(loss_fn, MODEL.init, optimizer, key, num_steps)


def read_and_answer(
  perk: PerkParams, context: Recall, about: Recall
) -> Float[Array, ' Q']:
  """Whether PERK answers right about one context having read another."""
  adapter = finetuning.read_context(MODEL, perk, as_texts(context.facts), 0)
  params = finetuning.adapted(perk.model, adapter)
  logits = models.forward(MODEL, params, about.questions[:, :1])[:, 0]
  return _right(logits, about.questions)


def answer_in_context(params: Params, context: Recall) -> Float[Array, ' Q']:
  """Whether the transformer answers each question right, one at a time."""
  one = lambda question: _in_context(
    params, context._replace(questions=question[None])
  )
  logits = jax.vmap(one)(context.questions)[:, 0]
  return _right(logits, context.questions)


def _in_context(params, context):
  """Logits behind each question, which stand one after the other."""
  facts = jnp.sum(models.embed(MODEL, params, context.facts), axis=1)
  asked = models.embed(MODEL, params, context.questions[:, 0])
  features = models.read(MODEL, params, jnp.concatenate([facts, asked])[None])
  return MODEL.logits(params, features[0, len(facts) :])


def _right(logits, questions):
  return (jnp.argmax(logits, axis=-1) == questions[:, 1]).astype(jnp.float32)


def _train(loss_fn, init, optimizer, key, num_steps):
  """Trains on fresh contexts; the last state's parameters, all losses."""

  def batch(key):
    keys = jax.random.split(key, _CONTEXTS)
    return jax.vmap(lambda key: draw(key, TRAINED, _ASKED))(keys)

  train_step = finetuning.make_train_step(loss_fn, optimizer)
  state = finetuning.init_state(init, optimizer, key)
  run = jax.jit(
    lambda state: finetuning.run_steps(train_step, batch, state, num_steps)
  )
  state, metrics = run(state)
  return state.params, metrics['loss']
