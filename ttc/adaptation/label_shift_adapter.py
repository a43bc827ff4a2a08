r"""Label Shift Adapter (Park et al., 2023, arXiv 2308.08810).

A small network :math:`g_\phi` reads how imbalanced the classes of the stream
are, one number, and changes the last layer accordingly:

.. math:: h' = (1 + \gamma) \odot h + \beta, \qquad
   f = (W + \Delta W)^\top h' + b + \Delta b.

It is trained before deployment on the source's images, so that its logits are
right for whatever prior is put in; in deployment the prior is a running mean of
its own predictions (not, as would be safer, of the source's or of tempered
ones). There is no public code: the form follows the paper, and
training draws priors :math:`\pi \propto (\pi^s)^a`, a in [-1, 1], which has the
paper's three (the source's, the uniform, the inverted) as its ends and middle.

Costs the host's passes, a second head, and about `W (D + 1) (K + 2)`
multiplications a batch, `W = 32`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from ttc.adaptation.adapter import Adapter, AdapterState
from ttc.adaptation.losses import mean_label_loss

_HIDDEN = 32
_LEAST = 1e-3  # of a class in an estimated prior


class ShiftParams(NamedTuple):
  """Two layers from the degree of imbalance to changes of the head."""

  first: Float[Array, '2 W']  # weight and bias
  scale: Float[Array, 'W D']
  shift: Float[Array, 'W D']
  kernel: Float[Array, 'W D K']
  bias: Float[Array, 'W K']


class LabelShiftState(NamedTuple):
  """The host's state, the last layer, and the estimated prior."""

  host: AdapterState
  head: dict[str, Array]
  prior: Float[Array, ' K']


def imbalance(
  prior: Float[Array, ' K'], source_prior: Float[Array, ' K']
) -> Float[Array, '']:
  """Degree of imbalance: positive if what was frequent in training still is.

  The prior times a fixed vector that ranks classes by how frequent they were
  in training, from 1 down to -1; equally frequent classes share a rank. Zero
  for a uniform prior, and always zero if training was uniform: then there is
  nothing to adapt by.
  """
  size = len(source_prior)
  above = jnp.sum(source_prior[:, None] > source_prior, axis=0)
  below = jnp.sum(source_prior[:, None] < source_prior, axis=0)
  ranks = (below - above).astype(prior.dtype) / (size - 1)
  return jnp.sum(prior * ranks)


def adapted_logits(
  params: ShiftParams,
  head: dict[str, Array],
  features: Float[Array, 'B D'],
  degree: Float[Array, ''],
) -> Float[Array, 'B K']:
  """Logits of the changed head.

  Args:
    params: of the adapter.
    head: `kernel` `[D, K]` and `bias` of the network.
    features: what the head reads.
    degree: of imbalance.
  """
  hidden = jnp.tanh(params.first[0] * degree + params.first[1])
  scale, shift = hidden @ params.scale, hidden @ params.shift
  kernel = head['kernel'] + jnp.tensordot(hidden, params.kernel, 1)
  changed = (1 + scale) * features + shift
  return changed @ kernel + head['bias'] + hidden @ params.bias


def train_label_shift_adapter(
  key: Array,
  features: Float[Array, 'n D'],
  labels: Int[Array, ' n'],
  head: dict[str, Array],
  source_prior: Float[Array, ' K'],
  *,
  num_steps: int = 1000,
  batch_size: int = 256,
  learning_rate: float = 1e-3,
  strength: float = 1.0,
) -> ShiftParams:
  r"""Learns the adapter on the source's features; the network stays.

  Minimises the generalised logit-adjusted cross-entropy

  .. math:: -\log \mathrm{softmax}(f_\pi + \tau (\log \pi^s - \log \pi))_y,

  which makes :math:`f_\pi` itself right for the prior :math:`\pi`.

  Args:
    key: of the beginning, the batches and the priors.
    features: of the source's images.
    labels: their classes.
    head: of the network.
    source_prior: how frequent classes are among those images; none counts for
      less than .001.
    num_steps: of Adam.
    batch_size: images of a step.
    learning_rate: of Adam.
    strength: tau.
  """
  source_prior = jnp.maximum(source_prior, _LEAST)
  start, steps = jax.random.split(key)
  params = _start(start, features.shape[1], len(source_prior))
  optimizer = optax.adam(learning_rate)

  def loss_fn(params, rows, power):
    prior = jax.nn.softmax(power * jnp.log(source_prior))
    degree = imbalance(prior, source_prior)
    logits = adapted_logits(params, head, features[rows], degree)
    adjusted = logits + strength * (jnp.log(source_prior) - jnp.log(prior))
    return mean_label_loss(adjusted, labels[rows])

  def step(carry, key):
    params, opt_state = carry
    draw, tilt = jax.random.split(key)
    rows = jax.random.randint(draw, (batch_size,), 0, len(labels))
    power = jax.random.uniform(tilt, (), minval=-1, maxval=1)
    grads = jax.grad(loss_fn)(params, rows, power)
    updates, opt_state = optimizer.update(grads, opt_state)
    params = jax.tree.map(optax.apply_updates, params, updates)
    return (params, opt_state), None

  carry = (params, optimizer.init(params))
  return jax.lax.scan(step, carry, jax.random.split(steps, num_steps))[0][0]


def label_shift_adapter(
  host: Adapter,
  params: ShiftParams,
  source_prior: Float[Array, ' K'],
  *,
  rate: float | Float[Array, ''] = 0.1,
) -> Adapter:
  """A method whose head follows the prior of the stream.

  Args:
    host: any method that leaves the last layer as it is; its features are read.
    params: from `train_label_shift_adapter`.
    source_prior: of the training data.
    rate: at which the estimate, uniform at first, moves to the mean prediction
      of a batch; no class falls below .001.
  """

  def init(source, key):
    size = len(source_prior)
    return LabelShiftState(
      host.init(source, key),
      source.variables['params']['head'],
      jnp.full((size,), 1 / size, jnp.float32),
    )

  def update(state, batch, key):
    seen, host_state = host.update(state.host, batch, key)
    degree = imbalance(state.prior, source_prior)
    logits = adapted_logits(params, state.head, seen.features, degree)
    weights = batch.mask / jnp.maximum(jnp.sum(batch.mask), 1)
    now = weights @ jax.nn.softmax(logits)
    moved = (1 - rate) * state.prior + rate * now
    moved = (1 - len(source_prior) * _LEAST) * moved + _LEAST
    prior = jnp.where(jnp.any(batch.mask), moved, state.prior)
    return seen._replace(logits=logits), state._replace(
      host=host_state, prior=prior.astype(jnp.float32)
    )

  return Adapter(init, update)


def _start(key: Array, size: int, num_classes: int) -> ShiftParams:
  """First layer random, changes of the head zero."""
  zeros = lambda *shape: jnp.zeros((_HIDDEN, *shape), jnp.float32)
  return ShiftParams(
    jax.random.normal(key, (2, _HIDDEN), jnp.float32),
    zeros(size),
    zeros(size),
    zeros(size, num_classes),
    zeros(num_classes),
  )
