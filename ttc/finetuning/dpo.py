r"""DPO: a policy that prefers, by how much it moved away from where it began.

Rafailov et al., "Direct Preference Optimization", arXiv 2305.18290. Of two
responses to a prompt one was chosen and one rejected. With `d` the sum over a
response's tokens of `log pi - log pi_ref`,

.. math:: L = -\log \sigma(m), \quad m = \beta (d_w - d_l), \quad
    \frac{\partial L}{\partial \log \pi(y_w)} = -\beta\, \sigma(-m)

and the opposite for the rejected one. At the reference the loss is log 2 for
every pair. Where preferences follow the law of Bradley and Terry for rewards
`r`, its minimum is `pi_ref exp(r / beta)`, normalised.

Costs three passes over two responses a pair, and one more of the reference
before. (`ttc.metarl.dpo` is another method of that name.)
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from ttc.finetuning.rollouts import (
  Adapt,
  all_parameters,
  in_precision,
  response_log_probs,
)
from ttc.finetuning.train_step import Metrics, TrainState, make_train_step
from ttc.models.base import LanguageModel
from ttc.types import Generation, Params, Prompt


class Pairs(NamedTuple):
  """Which of the `G` responses to each prompt was chosen and rejected."""

  chosen: Int[Array, ' P']
  rejected: Int[Array, ' P']
  is_pair: Bool[Array, ' P']  # whether there is one of each


class Preferences(NamedTuple):
  """What the loss reads; leaves may be cut along `P`.

  Attributes:
    prompt: of `P` problems.
    tokens: of the chosen response, then of the rejected one.
    mask: their tokens that count; the end token does.
    weights: of the pairs in the loss; 0 where there is none.
    ref_log_probs: of the tokens under the reference; None before it was asked.
  """

  prompt: Prompt
  tokens: Int[Array, 'P 2 T']
  mask: Bool[Array, 'P 2 T']
  weights: Float[Array, ' P']
  ref_log_probs: Float[Array, 'P 2 T'] | None = None


def pick_pairs(
  is_right: Bool[Array, '*P G'],
  is_wrong: Bool[Array, '*P G'],
  as_right: Float[Array, '*P G'] | None = None,
  as_wrong: Float[Array, '*P G'] | None = None,
) -> Pairs:
  """The best right response, and the most convincing wrong one.

  Args:
    is_right: responses that may be chosen.
    is_wrong: responses that may be rejected; some may be neither.
    as_right: how good each is, by whoever judges; None takes the first.
    as_wrong: how convincing each is although it is wrong; None takes the first.

  Returns:
    A pair of each prompt, the first where scores are equal.
  """

  def best(of, scores):
    if scores is None:
      return jnp.argmax(of, axis=-1).astype(jnp.int32)
    ranked = jnp.where(of, scores, -jnp.inf)
    return jnp.argmax(ranked, axis=-1).astype(jnp.int32)

  both = jnp.any(is_right, axis=-1) & jnp.any(is_wrong, axis=-1)
  return Pairs(best(is_right, as_right), best(is_wrong, as_wrong), both)


def preferences(
  prompt: Prompt, responses: Generation, pairs: Pairs
) -> Preferences:
  """The pairs of a rollout; each weighs the same, and all together 1."""
  index = jnp.stack([pairs.chosen, pairs.rejected], axis=1)
  tokens = jnp.take_along_axis(responses.tokens, index[..., None], axis=1)
  lengths = jnp.take_along_axis(responses.lengths, index, axis=1)
  written = jnp.arange(tokens.shape[-1]) < lengths[..., None]
  mask = written & pairs.is_pair[:, None, None]
  weights = pairs.is_pair / jnp.maximum(jnp.sum(pairs.is_pair), 1)
  return Preferences(prompt, tokens, mask, weights.astype(jnp.float32))


def dpo_loss(
  log_probs: Float[Array, 'P 2 T'],
  ref_log_probs: Float[Array, 'P 2 T'],
  mask: Bool[Array, 'P 2 T'],
  weights: Float[Array, ' P'],
  beta: Float[Array, ''] | float = 0.1,
) -> tuple[Float[Array, ''], dict[str, Float[Array, '']]]:
  """The loss of pairs, to be added to that of the rest of their window.

  Policy and reference are taken off each other token by token: two sums over a
  long response are large, and in float32 their difference would be noise.

  Args:
    log_probs: of the chosen and the rejected response under the policy.
    ref_log_probs: under the reference; no gradient.
    mask: tokens that count.
    weights: of the pairs.
    beta: strength of the pull to the reference; 0.1 in Timo, may be traced.

  Returns:
    The loss, and weighted sums for the metrics: `margin`, `correct` (whether it
    is positive) and how far both responses moved.
  """
  moved = jnp.where(mask, log_probs - jax.lax.stop_gradient(ref_log_probs), 0.0)
  moved = jnp.sum(moved, axis=-1)
  margin = beta * (moved[:, 0] - moved[:, 1])
  add = lambda x: jax.lax.stop_gradient(jnp.sum(weights * x))
  sums = {
    'margin': add(margin),
    'correct': add((margin > 0).astype(jnp.float32)),
    'moved_chosen': add(moved[:, 0]),
    'moved_rejected': add(moved[:, 1]),
  }
  return jnp.sum(weights * jax.nn.softplus(-margin)), sums


def make_dpo_update(
  model: LanguageModel,
  optimizer: optax.GradientTransformation,
  *,
  beta: Float[Array, ''] | float = 0.1,
  adapt: Adapt = all_parameters,
  temperature: Float[Array, ''] | float = 1.0,
  num_epochs: int = 1,
  num_micro_batches: int = 1,
  dtype: str | None = None,
) -> Callable[[TrainState, Params, Preferences], tuple[TrainState, Metrics]]:
  """Makes the update from pairs.

  Args:
    model: static; of `dtype` if that is given.
    optimizer: of what is trained.
    beta: of the loss.
    adapt: what is trained, and how it makes parameters.
    temperature: of the sampler; divides the logits of policy and reference.
    num_epochs: steps on the same pairs.
    num_micro_batches: pieces whose gradients are added; divides `P`.
    dtype: to compute in; None for that of the parameters.

  Returns:
    A pure `update(state, frozen, pairs) -> (state, metrics)`. The reference is
    `frozen`, unless the pairs bring its log-probabilities with them.
  """

  def log_probs(params, pairs):
    return response_log_probs(
      model, in_precision(params, dtype), pairs.prompt, pairs.tokens,
      temperature,
    )  # fmt: skip

  def loss_fn(trained, batch):
    frozen, pairs = batch
    now = log_probs(adapt(frozen, trained), pairs)
    return dpo_loss(now, pairs.ref_log_probs, pairs.mask, pairs.weights, beta)

  def update(state, frozen, pairs):
    if pairs.ref_log_probs is None:
      pairs = pairs._replace(ref_log_probs=log_probs(frozen, pairs))
    step = make_train_step(
      lambda trained, pairs: loss_fn(trained, (frozen, pairs)),
      optimizer,
      num_micro_batches=num_micro_batches,
      has_sums=True,
    )
    state, metrics = jax.lax.scan(
      lambda state, _: step(state, pairs), state, length=num_epochs
    )
    return state, {name: x[-1] for name, x in metrics.items()}

  return update
