"""Small sets of examples that long training learns by heart.

A perceptron on labels drawn from a softmax, as in section 3 of the paper's
analysis, and a transformer that splits a number in two modulo a prime, where
any pair that adds up is right. Chances of being right are exact, so pass@k is
`1 - (1 - p)^k` without sampling.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ttc import finetuning, models
from ttc.types import Params

STEPS = (10, 25, 50, 100, 200, 600)  # where a training is looked at
_FEATURES, _CLASSES, _EXAMPLES = 20, 20, 300
_MODULUS = 11
_PAIRS = 200  # examples of the transformer
_EQUALS = _MODULUS


class Training(NamedTuple):
  """What is trained on, and what is asked of it.

  Attributes:
    init: `key -> params`.
    log_probs: `params -> [examples]`, of each example's whole answer.
    right: `params -> [questions]`, exact chance that a sample is right.
    spread: `params -> []`, mean largest probability of an answer.
  """

  init: Callable[[PRNGKeyArray], Params]
  log_probs: Callable[[Params], Float[Array, ' B']]
  right: Callable[[Params], Float[Array, ' Q']]
  spread: Callable[[Params], Float[Array, '']]


class _Perceptron(nn.Module):
  @nn.compact
  def __call__(self, x):
    for _ in range(2):
      x = nn.relu(nn.Dense(128)(x))
    return nn.Dense(_CLASSES)(x)


def stochastic_labels(key: PRNGKeyArray, num_questions: int) -> Training:
  """300 examples of 20 features, labels by `softmax(2 x W / sqrt(20))`.

  A question is a fresh input; its right answer is a label drawn for it.
  """
  weights_key, train_key, test_key = jax.random.split(key, 3)
  weights = jax.random.normal(weights_key, (_FEATURES, _CLASSES), jnp.float32)

  def draw(key, count):
    x_key, label_key = jax.random.split(key)
    x = jax.random.normal(x_key, (count, _FEATURES), jnp.float32)
    logits = 2 * x @ weights / jnp.sqrt(jnp.float32(_FEATURES))
    return x, jax.random.categorical(label_key, logits)

  x, labels = draw(train_key, _EXAMPLES)
  asked, answers = draw(test_key, num_questions)
  net = _Perceptron()
  apply: Callable[..., Any] = net.apply

  def of_labels(params, x, labels):
    return -optax.softmax_cross_entropy_with_integer_labels(
      apply(params, x),
      labels,  # pyright: ignore[reportArgumentType]
    )

  return Training(
    lambda key: net.init(key, x),
    lambda params: of_labels(params, x, labels),
    lambda params: jnp.exp(of_labels(params, asked, answers)),
    lambda params: jnp.mean(
      jnp.max(jax.nn.softmax(apply(params, asked)), axis=-1)
    ),
  )


def modular_sums(key: PRNGKeyArray, num_questions: int) -> Training:
  """A number c and two idle ones; any `a b` with `a + b = c` is right.

  Which pair an example shows is drawn, small `a` more often; what is drawn for
  a prompt says nothing about others, and can only be learned by heart.
  """
  config = models.TransformerConfig(
    vocab_size=_MODULUS + 1, num_layers=2, embed_dim=64, mlp_dim=128,
    num_heads=4, num_kv_heads=4, head_dim=16, max_length=8, many_rows=True,
  )  # fmt: skip
  model = models.transformer(config)
  train_key, pair_key, test_key = jax.random.split(key, 3)
  prompts = _prompts(train_key, _PAIRS)
  weights = jnp.log(1 / (1 + jnp.arange(_MODULUS, dtype=jnp.float32)))
  first = jax.random.categorical(pair_key, weights, shape=(_PAIRS,))
  second = jnp.mod(prompts[:, 0] - first, _MODULUS)
  asked = _prompts(test_key, num_questions)

  def log_probs(params):
    tokens = jnp.concatenate([prompts, first[:, None]], axis=1)
    logits = models.forward(model, params, tokens)[:, -2:]
    pair = jnp.stack([first, second], axis=1)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, pair)
    return -jnp.sum(losses, axis=1)

  def of_pairs(params):
    """Log-probability of every pair at every question, `[Q, 11, 11]`."""
    rows = jnp.repeat(asked, _MODULUS, axis=0)
    a = jnp.tile(jnp.arange(_MODULUS), num_questions)
    logits = models.forward(
      model, params, jnp.concatenate([rows, a[:, None]], axis=1)
    )
    told = jax.nn.log_softmax(logits)[:, -2:, :_MODULUS]
    told = told.reshape(num_questions, _MODULUS, 2, _MODULUS)
    return told[:, 0, 0, :, None] + told[:, :, 1]

  def right(params):
    a = jnp.arange(_MODULUS)
    adds_up = (a[:, None] + a) % _MODULUS == asked[:, 0, None, None]
    return jnp.sum(jnp.where(adds_up, jnp.exp(of_pairs(params)), 0), (1, 2))

  def spread(params):
    return jnp.mean(jnp.max(jnp.exp(of_pairs(params)), axis=(1, 2)))

  return Training(model.init, log_probs, right, spread)


def _prompts(key, count) -> Int[Array, 'B 4']:
  numbers = jax.random.randint(key, (count, 3), 0, _MODULUS)
  return jnp.pad(numbers, ((0, 0), (0, 1)), constant_values=_EQUALS)


class Followed(NamedTuple):
  """A training as it goes, at each of so many steps.

  Attributes:
    right: chance of being right, by question.
    spread: mean largest probability.
  """

  right: Float[Array, 'S Q']
  spread: Float[Array, ' S']


def follow(
  training: Training,
  key: PRNGKeyArray,
  num_samples: int | Int[Array, ''],
  steps: tuple[int, ...] = STEPS,
  learning_rate: float = 3e-3,
) -> Followed:
  """Trains on all examples at once by Adam with `coverage_loss`.

  Args:
    training: data and network.
    key: of the initial parameters.
    num_samples: `N` of the loss; 1 for cross-entropy; may be traced.
    steps: where to look.
    learning_rate: of Adam.

  Returns:
    What was seen.
  """
  optimizer = optax.adam(learning_rate)
  train_step = finetuning.make_train_step(
    lambda params, _: jnp.mean(
      finetuning.coverage_loss(training.log_probs(params), num_samples)
    ),
    optimizer,
  )
  state = finetuning.init_state(training.init, optimizer, key)
  seen, done = [], 0
  for until in steps:
    state, _ = finetuning.run_steps(
      train_step, lambda key: (), state, until - done
    )
    done = until
    seen.append(Followed(training.right(state.params),
                         training.spread(state.params)))  # fmt: skip
  return jax.tree.map(lambda *x: jnp.stack(x), *seen)
