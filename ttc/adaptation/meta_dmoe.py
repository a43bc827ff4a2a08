r"""Meta-DMoE: experts teach a student before it works (Zhong et al., 2022).

"Meta-DMoE: Adapting to Domain Shift by Meta-Distillation from
Mixture-of-Experts", NeurIPS 2022, arXiv 2210.03885. One expert per source
domain; an aggregator, a block of a transformer, makes one feature vector of
theirs. On the first images of a new domain the student takes one step towards
it and then works alone:

.. math:: \theta' = \theta - \alpha \nabla_\theta
   \| h_\theta(x) - A(\{h_m(x)\}_m) \|^2.

Training repeats this on source domains, each time without the domain's own
expert, and differentiates the loss of the student so adapted through the step.

Costs, once a domain, a forward pass of every expert and a forward and backward
pass of the student; then forward passes of the student.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from ttc.adaptation.adapter import (
  Adapter,
  Batch,
  Prediction,
  masked_mean,
)
from ttc.adaptation.losses import mean_label_loss
from ttc.models.vision.classifier import Classifier, Variables


class Aggregator(nn.Module):
  """A pre-norm block over experts' features, and their mean.

  Experts that are left out neither are attended to nor count in the mean.
  """

  num_heads: int = 16

  @nn.compact
  def __call__(
    self, features: Float[Array, 'B M D'], is_asked: Bool[Array, ' M']
  ) -> Float[Array, 'B D']:
    size = features.shape[-1]
    features = jnp.where(is_asked[:, None], features, 0)
    normed = nn.LayerNorm(name='norm_attention')(features)
    x = features + nn.MultiHeadDotProductAttention(
      self.num_heads, name='attention'
    )(normed, mask=is_asked[None, None, None, :])
    hidden = nn.LayerNorm(name='norm_mlp')(x)
    hidden = nn.gelu(nn.Dense(2 * size, name='up')(hidden))
    x = x + nn.Dense(size, name='down')(hidden)
    weights = is_asked / jnp.maximum(jnp.sum(is_asked), 1)
    return jnp.einsum('bmd,m->bd', x, weights.astype(x.dtype))


class MetaDMoE(NamedTuple):
  """What meta-training learns, beside the experts, which are given."""

  student: Variables
  aggregator: Variables


class MetaDMoEState(NamedTuple):
  """The student, and whether it has had its lesson in this domain."""

  student: Variables
  has_adapted: Bool[Array, '']


def meta_dmoe(
  network: Classifier,
  experts: Variables,
  aggregator: Variables,
  *,
  rate: float | Float[Array, ''] = 1e-3,
  num_heads: int = 16,
) -> Adapter:
  """A student that adapts on the first batch of a domain, then predicts.

  Put it into `reset_every` where domains have a known length.

  Args:
    network: of experts and student; the source's variables are the student's.
    experts: their variables, leaves `[M, ...]`.
    aggregator: variables of `Aggregator`.
    rate: alpha.
    num_heads: of the aggregator.
  """

  def init(source, key):
    del key
    return MetaDMoEState(source.variables, jnp.array(False))

  def update(state, batch, key):
    del key
    everyone = jnp.ones(_num_experts(experts), bool)
    count = jnp.sum(batch.mask, dtype=jnp.int32)

    def teach(student):
      learned = MetaDMoE(student, aggregator)
      return adapt_student(
        network, learned, experts, everyone, batch, rate, num_heads
      )

    learns = (count > 0) & ~state.has_adapted
    student = jax.lax.cond(learns, teach, lambda x: x, state.student)
    seen = network.apply(student, batch.images)
    lesson = jnp.where(learns, count, 0)
    return (
      Prediction(
        seen.logits,
        seen.features,
        count + lesson * (_num_experts(experts) + 1),
        lesson,
      ),
      MetaDMoEState(student, state.has_adapted | learns),
    )

  return Adapter(init, update)


def adapt_student(
  network: Classifier,
  learned: MetaDMoE,
  experts: Variables,
  is_asked: Bool[Array, ' M'],
  batch: Batch,
  rate: float | Float[Array, ''],
  num_heads: int = 16,
) -> Variables:
  """The student after one step towards the aggregated features.

  The loss is the squared distance of feature vectors, a mean over images and a
  sum over features; batch normalisation keeps the source's moments, and the
  head does not move, for features do not depend on it.

  Args:
    network: of all.
    learned: student and aggregator.
    experts: leaves `[M, ...]`.
    is_asked: experts that take part.
    batch: images without labels.
    rate: alpha.
    num_heads: of the aggregator.
  """
  target = aggregate(
    network, learned.aggregator, experts, is_asked, batch.images, num_heads
  )

  def loss_fn(params):
    variables = learned.student | {'params': params}
    features = network.apply(variables, batch.images).features
    return masked_mean(jnp.sum((features - target) ** 2, -1), batch.mask)

  params = learned.student['params']
  grads = jax.grad(loss_fn)(params)
  stepped = jax.tree.map(
    lambda p, g: (p - rate * g).astype(p.dtype), params, grads
  )
  return learned.student | {'params': stepped}


def aggregate(
  network: Classifier,
  aggregator: Variables,
  experts: Variables,
  is_asked: Bool[Array, ' M'],
  images: Float[Array, 'B H W C'],
  num_heads: int = 16,
) -> Float[Array, 'B D']:
  """The aggregator's features of images."""
  look = lambda variables: network.apply(variables, images).features
  features = jnp.moveaxis(jax.vmap(look)(experts), 0, 1)
  apply: Callable[..., Any] = Aggregator(num_heads).apply
  return apply(aggregator, features, is_asked)


def start_aggregator(
  key: Array, num_experts: int, num_features: int, num_heads: int = 16
) -> Variables:
  """An aggregator's variables.

  Raises:
    ValueError: if the heads do not divide the features.
  """
  if num_features % num_heads:
    raise ValueError(f'{num_heads} heads do not divide {num_features} features')
  init: Callable[..., Any] = Aggregator(num_heads).init
  features = jnp.zeros((1, num_experts, num_features), jnp.float32)
  return init(key, features, jnp.ones(num_experts, bool))


def meta_dmoe_loss(
  network: Classifier,
  learned: MetaDMoE,
  experts: Variables,
  domain: Int[Array, ''],
  support: Float[Array, 'B H W C'],
  query: Float[Array, 'Q H W C'],
  labels: Int[Array, ' Q'],
  *,
  rate: float | Float[Array, ''] = 1e-3,
  num_heads: int = 16,
) -> Float[Array, '']:
  """Cross-entropy on a domain's query after a lesson on its support.

  Differentiate it with respect to `learned`, through the step.

  Args:
    network: of all.
    learned: student and aggregator.
    experts: leaves `[M, ...]`.
    domain: whose expert is left out.
    support: images of the domain without labels.
    query: others of it.
    labels: theirs.
    rate: alpha.
    num_heads: of the aggregator.
  """
  is_asked = jnp.arange(_num_experts(experts)) != domain
  batch = Batch(support, jnp.ones(len(support), bool))
  student = adapt_student(
    network, learned, experts, is_asked, batch, rate, num_heads
  )
  logits = network.apply(student, query).logits
  return mean_label_loss(logits, labels)


def _num_experts(experts):
  return jax.tree.leaves(experts)[0].shape[0]
