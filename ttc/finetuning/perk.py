r"""PERK: reading a long context by gradient steps (Chen et al., 2507.06415).

A context is cut into segments that are learned AS A BATCH by an adapter, and a
question is answered by the adapted model from the question alone:

.. math:: \phi_{k+1} = \phi_k - \eta_k \odot \nabla_\phi
    \frac{1}{S} \sum_s \ell(c_s; \theta + \phi_k), \qquad
  \min_{\theta, \phi_0, \eta} -\log p(a \mid q; \theta + \phi_K).

No pass is longer than a segment, so contexts may be longer than any that was
trained on, and where a fact stands does not matter. The loss is a mean over the
tokens of the context, so steps keep their size when it grows. Rates are learned
for each leaf and step. Only the last T of the K steps are differentiated
through; before them the derivative is taken to be the identity (straight
through), so that :math:`\phi_0` still learns: `T = K` is the exact gradient,
`T = 0` the first-order one.

Reading costs `3 K` passes over the tokens of the context, whose attention is
linear in their number; training keeps `T` adapters and recomputes each step.
`jax.vmap` over contexts gives an adapter each.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ttc import models
from ttc.finetuning.lora import Adapter, apply_lora, init_lora
from ttc.finetuning.losses import next_token_loss
from ttc.types import Params

Rates: TypeAlias = Any  # a pytree like what descends, leaves `[K, ...]`


class Texts(NamedTuple):
  """Segments of a context, or questions with their answers.

  Attributes:
    tokens: padded on the right.
    mask: True on the tokens that are learned, or asked for; the first of a row
      never is.
  """

  tokens: Int[Array, 'S T']
  mask: Bool[Array, 'S T']


class PerkParams(NamedTuple):
  """What is meta-learned.

  Attributes:
    model: parameters of the model.
    adapter: to begin reading with, `phi_0`.
    log_rates: a leaf `[K]` for each of the adapter.
  """

  model: Params
  adapter: Adapter
  log_rates: Rates


def init_perk(
  key: PRNGKeyArray,
  params: Params,
  rank: int,
  num_steps: int,
  rate: float = 0.1,
) -> PerkParams:
  """An adapter of the model, and equal rates.

  Args:
    key: random key, consumed.
    params: of the model.
    rank: of the adapter.
    num_steps: `K`.
    rate: of every leaf and step at first.
  """
  if num_steps < 1:
    raise ValueError(f'num_steps={num_steps} must be at least 1')
  adapter = init_lora(key, params, rank)
  log_rate = jnp.full((num_steps,), jnp.log(jnp.float32(rate)))
  return PerkParams(params, adapter, jax.tree.map(lambda _: log_rate, adapter))


def read_context(
  model: models.LanguageModel,
  perk: PerkParams,
  context: Texts,
  num_unrolled: int = 2,
) -> Adapter:
  """The adapter that has read a context.

  Args:
    model: static.
    perk: what was meta-learned.
    context: segments in any order; each fact within one of them.
    num_unrolled: last steps to differentiate through, `T`; static.

  Returns:
    `phi_K`.

  Raises:
    ValueError: if `num_unrolled` is not in [0, K].
  """

  def loss_fn(adapter):
    params = adapted(perk.model, adapter)
    return next_token_loss(model, params, context.tokens, context.mask)

  rates = jax.tree.map(jnp.exp, perk.log_rates)
  return unroll(loss_fn, perk.adapter, rates, num_unrolled)


def read_longer(perk: PerkParams, num_more: int) -> PerkParams:
  """The same, to read with more steps at test time: the last ones go on.

  A context longer than those of training gives each of its facts a smaller
  share of a step.

  Args:
    perk: what was meta-learned.
    num_more: steps with the rates of the last; static.
  """

  def longer(rates):
    last = jnp.broadcast_to(rates[-1:], (num_more, *rates.shape[1:]))
    return jnp.concatenate([rates, last])

  return perk._replace(log_rates=jax.tree.map(longer, perk.log_rates))


def perk_loss(
  model: models.LanguageModel,
  perk: PerkParams,
  context: Texts,
  questions: Texts,
  num_unrolled: int = 2,
) -> Float[Array, '']:
  """Cross-entropy of answers after reading, nats per token of the answers.

  Args:
    model: static.
    perk: what is meta-learned.
    context: that the questions are about.
    questions: each with its answer, which `mask` marks.
    num_unrolled: as of `read_context`.
  """
  adapter = read_context(model, perk, context, num_unrolled)
  params = adapted(perk.model, adapter)
  return next_token_loss(model, params, questions.tokens, questions.mask)


def adapted(params: Params, adapter: Adapter) -> Params:
  """Parameters of the model that has read: with a LoRA of scale 1."""
  rank = next(iter(adapter.values())).a.shape[-1]
  return apply_lora(params, adapter, alpha=float(rank))


def unroll(
  loss_fn: Callable[[Params], Float[Array, '']],
  start: Params,
  rates: Rates,
  num_unrolled: int,
) -> Params:
  """Gradient steps, of which the last ones are differentiated through.

  Args:
    loss_fn: goes down; may close over what is meta-learned.
    start: to begin with.
    rates: a pytree like `start`, leaves `[K]` or `[K, ...]` of its shapes.
    num_unrolled: `T`; static.

  Returns:
    What the steps lead to. Its derivative goes to `start` straight through the
    first `K - T` steps, and not through them to `loss_fn` and rates.

  Raises:
    ValueError: if `num_unrolled` is not in [0, K].
  """
  num_steps = jax.tree.leaves(rates)[0].shape[0]
  if not 0 <= num_unrolled <= num_steps:
    raise ValueError(f'{num_unrolled=} is not in [0, {num_steps}]')

  def step(x, rates):
    grads = jax.grad(loss_fn)(x)
    scaled = lambda leaf, rate, grad: leaf - _like(rate, leaf) * grad
    return jax.tree.map(scaled, x, rates, grads), None

  def cut(tree, part):
    return jax.tree.map(lambda leaf: leaf[part], tree)

  num_first = num_steps - num_unrolled
  first = jax.lax.stop_gradient(cut(rates, slice(None, num_first)))
  # Scanned over no traced copy of `start`: nothing is kept for a gradient.
  end, _ = jax.lax.scan(step, jax.lax.stop_gradient(start), first)
  moved = jax.tree.map(
    lambda a, b: a + jax.lax.stop_gradient(b - a), start, end
  )
  last = cut(rates, slice(num_first, None))
  return jax.lax.scan(jax.checkpoint(step), moved, last)[0]


def _like(rate, leaf):
  """A rate of the whole leaf, or of each of its numbers."""
  return rate.reshape(rate.shape + (1,) * (leaf.ndim - rate.ndim))
