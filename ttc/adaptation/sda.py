"""DDA and SDA: images brought back to the source by a diffusion model.

DDA (Gao et al., 2023, arXiv 2207.03442) shows the trained network an image as
it came and as a diffusion model of the source redraws it. SDA (Guo et al.,
2024, "Everything to the Synthetic", arXiv 2406.04295) shows the redrawn one to
a network that was fine-tuned on redrawn images, so that it knows what redrawing
leaves behind. Probabilities are added; nothing is learned at test time.

Costs two forward passes and the redrawing, which is nearly all of it: for `N`
steps, `N` calls of the denoiser with its gradient.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from ttc.adaptation.adapter import Adapter, Prediction, Source
from ttc.adaptation.losses import mean_label_loss
from ttc.models.vision.classifier import Classifier, Variables

# `(key, images [B, H, W, C] in [0, 1]) -> images` of the source's kind, each by
# itself.
Align = Callable[[Array, Array], Array]


def sda(
  network: Classifier, align: Align, fine_tuned: Variables | None = None
) -> Adapter:
  """Two views by two networks.

  Args:
    network: the classifier.
    align: redraws images, such as `lambda key, x: (diffusion.align(key,
      sampler, 2 * x - 1, start) + 1) / 2`.
    fine_tuned: variables of the second network; None for the source's, which
      is DDA.
  """

  def init(source, key):
    del key
    return source.variables

  def update(variables, batch, key):
    redrawn = align(key, batch.images)
    second = variables if fine_tuned is None else fine_tuned
    seen = network.apply(variables, batch.images)
    other = network.apply(second, redrawn)
    both = jax.nn.softmax(seen.logits) + jax.nn.softmax(other.logits)
    count = jnp.sum(batch.mask, dtype=jnp.int32)
    prediction = Prediction(
      jnp.log(both + 1e-30), seen.features, 2 * count, 0 * count
    )
    return prediction, variables

  return Adapter(init, update)


def fine_tune(
  network: Classifier,
  source: Source,
  key: Array,
  *,
  num_steps: int = 500,
  batch_size: int = 64,
  learning_rate: float = 5e-4,
) -> Variables:
  """Stage 1: the network learns how redrawn images look.

  SGD with momentum .9 and weight decay 1e-4; moments of batch normalisation
  stay.

  Args:
    network: the classifier.
    source: its variables, with synthetic images that were redrawn as the
      stream's will be, and the classes they were made for.
    key: of the batches.
    num_steps: of SGD.
    batch_size: images of a step.
    learning_rate: of SGD.
  """
  if not len(source.labels):
    raise ValueError('fine_tune: no images')
  optimizer = optax.chain(
    optax.add_decayed_weights(1e-4), optax.sgd(learning_rate, momentum=0.9)
  )

  def loss_fn(params, rows):
    variables = source.variables | {'params': params}
    seen = network.apply(variables, source.images[rows])
    return mean_label_loss(seen.logits, source.labels[rows])

  def step(carry, key):
    params, opt_state = carry
    rows = jax.random.randint(key, (batch_size,), 0, len(source.labels))
    grads = jax.grad(loss_fn)(params, rows)
    updates, opt_state = optimizer.update(grads, opt_state, params)
    return (optax.apply_updates(params, updates), opt_state), None

  params = source.variables['params']
  carry = (params, optimizer.init(params))
  keys = jax.random.split(key, num_steps)
  return source.variables | {'params': jax.lax.scan(step, carry, keys)[0][0]}
