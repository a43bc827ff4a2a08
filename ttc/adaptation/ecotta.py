r"""EcoTTA: small networks beside a frozen one (Song et al., 2023).

"EcoTTA: Memory-Efficient Continual Test-time Adaptation via Self-distilled
Regularization", arXiv 2303.01904. The trained network is cut into parts and
stays frozen; behind part :math:`k`, which makes :math:`x_k` of
:math:`\tilde x_{k-1}`, a meta network adds a branch:

.. math:: \tilde x_k = \mathrm{BN}(x_k) +
   \mathrm{ReLU}(\mathrm{BN}(\mathrm{Conv}_{3 \times 3}(\tilde x_{k-1}))).

Only meta networks learn: on the source first, then from

.. math:: \mathrm{mean}_{H_i < H_0} H_i + \lambda \sum_k
   \mathrm{mean} |\tilde x_k - x_k|,

in which the second term of a part reaches no other part. There is no official
code; normalisation of the frozen network keeps its source moments, also during
the warm-up. Published: 36.4 % on CIFAR-100-C.

Costs a forward and backward pass; frozen layers keep no activations for their
own gradients.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Array, Bool, Float

from ttc.adaptation.adapter import (
  Adapter,
  Prediction,
  Source,
  keep_if,
  masked_mean,
)
from ttc.adaptation.losses import entropy, mean_label_loss
from ttc.models.vision.classifier import (
  Classifier,
  Moments,
  Outputs,
  Variables,
)
from ttc.models.vision.convolution import Conv
from ttc.models.vision.normalisation import BatchNorm

MetaVariables = list[Variables]  # of each part
SGD = optax.sgd(5e-3, momentum=0.9)
_AVERAGING = 0.9  # of running moments in the warm-up


class MetaNetwork(nn.Module):
  """The branch behind one part; at first it changes next to nothing.

  With a scale of exactly 0 its rectifier would pass no gradient, and it would
  never learn.
  """

  @nn.compact
  def __call__(
    self,
    given: Float[Array, 'B H W C'],
    came_out: Float[Array, 'B h w c'],
    moments: Moments,
    mask: Bool[Array, ' B'] | None,
  ) -> Float[Array, 'B h w c']:
    if came_out.ndim != 4:
      raise ValueError(f'EcoTTA: maps [B, h, w, C], not {came_out.shape}')
    stride = -(-given.shape[1] // came_out.shape[1])
    branch = Conv(came_out.shape[-1], 3, stride, name='conv')(given)
    branch = BatchNorm(
      scale_init=nn.initializers.constant(1e-6), name='norm_branch'
    )(branch, moments, mask)
    return BatchNorm(name='norm_out')(came_out, moments, mask) + nn.relu(branch)


class EcoTTAState(NamedTuple):
  """Both networks and the optimiser of the small one."""

  variables: Variables
  meta: MetaVariables
  opt_state: optax.OptState


def ecotta(
  network: Classifier,
  meta: MetaVariables,
  optimizer: optax.GradientTransformation = SGD,
  *,
  strength: float | Float[Array, ''] = 0.5,
  threshold: float | Float[Array, ''] = 0.4,
) -> Adapter:
  """Adapts the meta networks; predicts before the step.

  Args:
    network: the frozen classifier; every stage of it is a part.
    meta: from `warm_up`.
    optimizer: SGD at .005 with momentum .9 (CIFAR).
    strength: lambda, .5 in the paper.
    threshold: of the entropy, in units of log K.
  """
  limit = threshold * jnp.log(float(network.num_classes))

  def init(source, key):
    del key
    params = [part['params'] for part in meta]
    return EcoTTAState(source.variables, meta, optimizer.init(params))

  def update(state, batch, key):
    del key

    def loss_fn(params):
      meta = _with_params(state.meta, params)
      seen, drift = apply_with_meta(
        network, state.variables, meta, batch.images, 'batch', batch.mask
      )
      uncertainty = entropy(seen.logits)
      kept = batch.mask & (uncertainty < limit)
      return masked_mean(uncertainty, kept) + strength * drift, seen

    params = [part['params'] for part in state.meta]
    grads, seen = jax.grad(loss_fn, has_aux=True)(params)
    updates, opt_state = optimizer.update(grads, state.opt_state, params)
    learned = state._replace(
      meta=_with_params(state.meta, optax.apply_updates(params, updates)),
      opt_state=opt_state,
    )
    count = jnp.sum(batch.mask, dtype=jnp.int32)
    prediction = Prediction(seen.logits, seen.features, count, count)
    return prediction, keep_if(count > 0, learned, state)

  return Adapter(init, update)


def apply_with_meta(
  network: Classifier,
  variables: Variables,
  meta: MetaVariables,
  images: Float[Array, 'B H W C'],
  moments: Moments,
  mask: Bool[Array, ' B'] | None = None,
) -> tuple[Outputs, Float[Array, '']]:
  """The frozen network with its meta networks.

  Args:
    network: the classifier.
    variables: its own, frozen.
    meta: of the meta networks.
    images: to see.
    moments: those that meta networks normalise with; the frozen ones keep the
      source's.
    mask: rows that count.

  Returns:
    Outputs, in which `moments` are those of the meta networks; and the sum over
    parts of the mean distance between what comes out of a part with and
    without its branch, of which each term has gradients for its own part only.
  """
  drifts, used = [], []
  rows = jnp.ones(len(images), bool) if mask is None else mask

  def apply_part(part, given, came_out):
    return MetaNetwork().apply(
      part, given, came_out, moments, mask, mutable=['moments']
    )

  def between(stage, given, came_out):
    went_on, collected = apply_part(meta[stage], given, came_out)
    fixed = jax.lax.stop_gradient((given, came_out))
    alone, _ = apply_part(meta[stage], *fixed)
    distance = jnp.mean(jnp.abs(alone - fixed[1]), axis=(1, 2, 3))
    drifts.append(masked_mean(distance, rows))
    used.append(collected['moments'])
    return went_on

  seen = network.apply(variables, images, 'source', mask, between)
  return seen._replace(moments=used), functools.reduce(jnp.add, drifts)


def start_meta(
  network: Classifier,
  variables: Variables,
  key: Array,
  images: Float[Array, 'B H W C'],
) -> MetaVariables:
  """Meta networks that change nothing yet.

  Args:
    network: the classifier.
    variables: its own.
    key: of the convolutions.
    images: of the shapes to come.
  """
  shapes = []

  def between(stage, given, came_out):
    shapes.append((given[:1], came_out[:1]))
    return came_out

  network.apply(variables, images, between=between)
  meta = []
  for i, (given, came_out) in enumerate(shapes):
    part = MetaNetwork().init(
      jax.random.fold_in(key, i), given, came_out, 'source', None
    )
    meta.append({k: part[k] for k in ('params', 'batch_stats')})
  return meta


def warm_up(
  network: Classifier,
  source: Source,
  key: Array,
  *,
  num_steps: int = 2000,
  batch_size: int = 64,
  learning_rate: float = 0.05,
) -> MetaVariables:
  """Teaches the meta networks the source's classes; the network is frozen.

  SGD with momentum .9 whose rate falls by five after three, six and eight
  tenths of the steps, as in the paper's ten epochs, of which these are a part;
  images are not augmented, which the paper does by jitter, blur and grey.

  Args:
    network: the classifier.
    source: its variables, images and labels.
    key: of the beginning and of the batches.
    num_steps: of SGD.
    batch_size: images of a step.
    learning_rate: at first.
  """
  if not len(source.labels):
    raise ValueError('warm_up: no images of the source')
  start, draw = jax.random.split(key)
  meta = start_meta(network, source.variables, start, source.images[:1])
  falls = {int(num_steps * part): 0.2 for part in (0.3, 0.6, 0.8)}
  optimizer = optax.sgd(
    optax.piecewise_constant_schedule(learning_rate, falls), momentum=0.9
  )

  def loss_fn(params, meta, rows):
    seen, _ = apply_with_meta(
      network, source.variables, _with_params(meta, params),
      source.images[rows], 'batch',
    )  # fmt: skip
    return mean_label_loss(seen.logits, source.labels[rows]), seen.moments

  def step(carry, key):
    meta, opt_state = carry
    rows = jax.random.randint(key, (batch_size,), 0, len(source.labels))
    params = [part['params'] for part in meta]
    grads, used = jax.grad(loss_fn, has_aux=True)(params, meta, rows)
    updates, opt_state = optimizer.update(grads, opt_state, params)
    params = jax.tree.map(optax.apply_updates, params, updates)
    average = lambda old, new: _AVERAGING * old + (1 - _AVERAGING) * new
    meta = [
      {'params': p, 'batch_stats': jax.tree.map(average, m['batch_stats'], u)}
      for p, m, u in zip(params, meta, used, strict=True)
    ]
    return (meta, opt_state), None

  carry = (meta, optimizer.init([part['params'] for part in meta]))
  return jax.lax.scan(step, carry, jax.random.split(draw, num_steps))[0][0]


def _with_params(meta, params):
  return [
    part | {'params': own} for part, own in zip(meta, params, strict=True)
  ]
