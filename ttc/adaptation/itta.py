r"""ITTA: a consistency loss that is learned (Chen et al., 2023).

"Improved Test-Time Adaptation for Domain Generalization", arXiv 2304.04494.
Features :math:`z` of an image and :math:`z'` of the image in another's style
should agree,

.. math:: L_\mathrm{wcont} = \mathrm{mean}\, f_w(z' - z)^2,

where :math:`f_w`, ten layers of a scale, a shift and a rectifier per dimension,
is trained so that the gradient of this loss points where that of the
cross-entropy does. At test time blocks of the same kind, one number per place
behind every stage, descend it once a batch, and then the batch is predicted.

Styles are mixed by MixStyle (Zhou et al., 2021, arXiv 2104.02008): means and
deviations of channels behind the first or the second stage, with weight
Beta(.1, .1), across a shuffled batch.

Costs three forward passes a batch, two of them with a gradient.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import flatten_util
from jaxtyping import Array, Bool, Float, Int

from ttc.adaptation.adapter import Adapter, Prediction, keep_if
from ttc.adaptation.losses import mean_label_loss
from ttc.models.vision.classifier import Classifier, Variables

_LAYERS = 10
_ADAM = optax.adam(5e-6)


class Affine(NamedTuple):
  """Ten layers, each a scale and a shift of every number."""

  scale: Float[Array, 'L *shape']
  shift: Float[Array, 'L *shape']


class ITTAState(NamedTuple):
  """The network, the learned loss, and what is learned behind stages."""

  variables: Variables
  weights: Affine  # of the loss
  blocks: list[Affine]
  opt_state: optax.OptState


class ITTATraining(NamedTuple):
  """What training carries: network and loss with their optimisers."""

  variables: Variables
  weights: Affine
  opt_state: optax.OptState
  weights_opt_state: optax.OptState


def identity_layers(shape: tuple[int, ...]) -> Affine:
  """Layers that leave positive numbers as they are."""
  sizes = (_LAYERS, *shape)
  return Affine(jnp.ones(sizes, jnp.float32), jnp.zeros(sizes, jnp.float32))


def apply_layers(
  layers: Affine, x: Float[Array, 'B *shape'], *, last_rectifies: bool
) -> Float[Array, 'B *shape']:
  """Scales, shifts and rectifies, layer after layer."""

  def rectified(x, layer):
    return jax.nn.relu(x * layer.scale + layer.shift), None

  most = jax.tree.map(lambda leaf: leaf[:-1], layers)
  x, _ = jax.lax.scan(rectified, x, most)
  x = x * layers.scale[-1] + layers.shift[-1]
  return jax.nn.relu(x) if last_rectifies else x


def consistency(
  weights: Affine,
  z: Float[Array, 'B D'],
  other: Float[Array, 'B D'],
  mask: Bool[Array, ' B'] | None = None,
) -> Float[Array, '']:
  """The learned loss of features and of those in another style.

  As in the release the first layer's rectifier cuts what is negative of the
  difference.
  """
  squared = apply_layers(weights, other - z, last_rectifies=False) ** 2
  rows = jnp.mean(squared, axis=-1)
  weight = jnp.ones_like(rows) if mask is None else mask.astype(rows.dtype)
  return jnp.sum(weight * rows) / jnp.maximum(jnp.sum(weight), 1)


def mix_style(
  key: Array, x: Float[Array, 'B h w c'], mask: Bool[Array, ' B'] | None = None
) -> Float[Array, 'B h w c']:
  """Gives every map the mean and deviation of a mixture with another's.

  Args:
    key: of partners and weights.
    x: maps of a batch.
    mask: rows that count; they mix with each other, whatever the others are.
  """
  if x.ndim != 4:
    raise ValueError(f'mix_style: maps [B, h, w, C], not {x.shape}')
  counts = jnp.ones(len(x), bool) if mask is None else mask

  def draw(row):
    order_key, weight_key = jax.random.split(jax.random.fold_in(key, row))
    share = jax.random.beta(weight_key, 0.1, 0.1, dtype=x.dtype)
    return jax.random.uniform(order_key), share

  place, share = jax.vmap(draw)(jnp.arange(len(x)))
  shuffled = jnp.argsort(jnp.where(counts, place, jnp.inf))
  order = shuffled[jnp.maximum(jnp.cumsum(counts) - 1, 0)]
  order = jnp.where(counts, order, jnp.arange(len(x)))
  share = share[:, None, None, None]
  mean = jnp.mean(x, (1, 2), keepdims=True)
  std = jnp.sqrt(jnp.var(x, (1, 2), keepdims=True) + 1e-6)
  mean, std = jax.lax.stop_gradient((mean, std))
  new_mean = share * mean + (1 - share) * mean[order]
  new_std = share * std + (1 - share) * std[order]
  return (x - mean) / std * new_std + new_mean


def itta(
  network: Classifier,
  weights: Affine,
  optimizer: optax.GradientTransformation = _ADAM,
  *,
  loss_scale: float | Float[Array, ''] = 1e-6,
) -> Adapter:
  """Adapts blocks behind the stages; predicts after the step.

  Args:
    network: trained by `itta_train_step`.
    weights: of the learned loss, from the same training.
    optimizer: of the blocks; Adam at a tenth of the training's rate.
    loss_scale: 1e-6 in the release, .1 for DomainNet; Adam all but undoes it.
  """

  def init(source, key):
    del key
    blocks = [
      identity_layers(shape)
      for shape in _stage_shapes(network, source.variables, source.images)
    ]
    return ITTAState(source.variables, weights, blocks, optimizer.init(blocks))

  def update(state, batch, key):
    def loss_fn(blocks):
      z, other = _two_styles(
        network, state.variables, batch.images, key, batch.mask, blocks
      )
      loss = consistency(state.weights, z.features, other.features, batch.mask)
      return loss_scale * loss

    grads = jax.grad(loss_fn)(state.blocks)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.blocks)
    learned = state._replace(
      blocks=optax.apply_updates(state.blocks, updates), opt_state=opt_state
    )
    count = jnp.sum(batch.mask, dtype=jnp.int32)
    state = keep_if(count > 0, learned, state)
    seen = network.apply(
      state.variables, batch.images, between=_through(state.blocks)
    )
    return Prediction(seen.logits, seen.features, 3 * count, 2 * count), state

  return Adapter(init, update)


def start_itta_training(
  variables: Variables,
  num_features: int,
  optimizer: optax.GradientTransformation,
  weights_optimizer: optax.GradientTransformation,
) -> ITTATraining:
  """Training begins with a loss that is a plain squared difference."""
  weights = identity_layers((num_features,))
  return ITTATraining(
    variables,
    weights,
    optimizer.init(variables['params']),
    weights_optimizer.init(weights),
  )


def itta_train_step(
  network: Classifier,
  optimizer: optax.GradientTransformation,
  weights_optimizer: optax.GradientTransformation,
  state: ITTATraining,
  key: Array,
  images: Float[Array, 'B H W C'],
  labels: Int[Array, ' B'],
  *,
  strength: float = 0.1,
) -> tuple[Float[Array, ''], ITTATraining]:
  """One step of the network, then one of the learned loss.

  Args:
    network: to be trained, with the moments of its batches frozen.
    optimizer: of the network; Adam at 5e-5 in the release.
    weights_optimizer: of the loss; at a tenth of that.
    state: of the training.
    key: of styles.
    images: of all source domains.
    labels: their classes.
    strength: of the penalty on gradients that differ.

  Returns:
    The cross-entropy of both styles plus consistency, and the new state.
  """

  def loss_fn(params, weights):
    variables = state.variables | {'params': params}
    z, other = _two_styles(network, variables, images, key)
    both = mean_label_loss(z.logits, labels) + mean_label_loss(
      other.logits, labels
    )
    return both + consistency(weights, z.features, other.features)

  params = state.variables['params']
  loss, grads = jax.value_and_grad(loss_fn)(params, state.weights)
  updates, opt_state = optimizer.update(grads, state.opt_state, params)
  weights_grads = jax.grad(
    lambda weights: (
      strength
      * gradient_mismatch(
        network, state.variables, weights, key, images, labels
      )
    )
  )(state.weights)
  weights_updates, weights_opt_state = weights_optimizer.update(
    weights_grads, state.weights_opt_state, state.weights
  )
  return loss, ITTATraining(
    state.variables | {'params': optax.apply_updates(params, updates)},
    jax.tree.map(optax.apply_updates, state.weights, weights_updates),
    opt_state,
    weights_opt_state,
  )


def gradient_mismatch(
  network: Classifier,
  variables: Variables,
  weights: Affine,
  key: Array,
  images: Float[Array, 'B H W C'],
  labels: Int[Array, ' B'],
) -> Float[Array, '']:
  """How far the learned loss's gradient points from the cross-entropy's.

  Gradients of all that makes features, each a vector less its mean over its
  deviation, which both count as constants, as in the release.
  """
  flat = lambda tree: flatten_util.ravel_pytree(tree)[0]
  body = {k: v for k, v in variables['params'].items() if k != 'head'}

  def losses(body):
    params = variables['params'] | body
    z, other = _two_styles(network, variables | {'params': params}, images, key)
    main = mean_label_loss(z.logits, labels) + mean_label_loss(
      other.logits, labels
    )
    return consistency(weights, z.features, other.features), main

  ours = flat(jax.grad(lambda body: losses(body)[0])(body))
  wanted = flat(jax.grad(lambda body: losses(body)[1])(body))
  wanted = jax.lax.stop_gradient(_standardised(wanted))
  return jnp.mean((_standardised(ours) - wanted) ** 2)


def _standardised(vector):
  mean, std = jax.lax.stop_gradient((jnp.mean(vector), jnp.std(vector)))
  return (vector - mean) / jnp.maximum(std, 1e-12)


def _two_styles(network, variables, images, key, mask=None, blocks=None):
  """Outputs of images as they are, and in another's style."""
  style_key, stage_key = jax.random.split(key)
  late = jax.random.bernoulli(stage_key)

  def mixed(stage, given, came_out):
    if stage > 1:
      return came_out
    restyled = mix_style(style_key, came_out, mask)
    return jnp.where(late == (stage == 1), restyled, came_out)

  plain = network.apply(variables, images, 'source', mask, _through(blocks))
  other = network.apply(
    variables, images, 'source', mask, _through(blocks, mixed)
  )
  return plain, other


def _through(blocks, then=None):
  """What happens between stages: a block, then perhaps a change of style."""

  def between(stage, given, came_out):
    if blocks is not None:
      came_out = apply_layers(blocks[stage], came_out, last_rectifies=True)
    return came_out if then is None else then(stage, given, came_out)

  return between


def _stage_shapes(network: Classifier, variables: Variables, images: Any):
  """Shapes of what leaves each stage, without the batch."""
  shapes = []

  def between(stage, given, came_out):
    shapes.append(came_out.shape[1:])
    return came_out

  look = lambda images: network.apply(variables, images, between=between)
  jax.eval_shape(look, images[:1])
  return shapes
