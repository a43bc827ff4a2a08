"""Small mixtures of experts that divide tasks between them.

Trained with the term of Mod-Squad (Chen et al., 2212.08066), the mutual
information of task and expert: each task gets experts of its own, and all
experts are used. So which experts read a question matters, and it is known
whose they are.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ttc import models
from ttc.models.expert_products import Kernels
from ttc.testbeds.train import Directory, Recipe, digest, train, trained_params
from ttc.types import Params

NUM_EXPERTS = 8


class Batch(NamedTuple):
  """Sequences of several tasks."""

  tokens: Int[Array, 'B T']
  mask: Bool[Array, 'B T']  # what is learned; the first token never is
  tasks: Int[Array, ' B']


class TrainedMixture(NamedTuple):
  """A model, and the same with gradients that see all experts."""

  config: models.TransformerConfig
  params: Params

  @property
  def model(self) -> models.LanguageModel:
    """As it is used."""
    return models.transformer(self.config)

  @property
  def learner(self) -> models.LanguageModel:
    """As gradients are taken."""
    return models.transformer(self.config, straight_through=True)


def mixture_config(
  vocab_size: int, num_layers: int, max_length: int
) -> models.TransformerConfig:
  """Width 64, eight experts, of which two read a token."""
  return models.TransformerConfig(
    vocab_size=vocab_size, num_layers=num_layers, embed_dim=64, mlp_dim=64,
    num_heads=4, num_kv_heads=4, head_dim=16, max_length=max_length,
    many_rows=True, tie_embeddings=False,
    experts=models.Experts(NUM_EXPERTS, 2, 64, normalise=True),
  )  # fmt: skip


def mutual_information(
  weights: Float[Array, 'B L E'], tasks: Int[Array, ' B'], num_tasks: int
) -> Float[Array, '']:
  """Of task and expert, tasks equally likely; nats, mean of layers."""
  of_task = jax.nn.one_hot(tasks, num_tasks)
  counts = jnp.maximum(of_task.sum(axis=0), 1)
  given = jnp.einsum('bt,ble->lte', of_task, weights) / counts[:, None]
  marginal = given.mean(axis=1, keepdims=True)
  log_ratio = jnp.log(given + 1e-9) - jnp.log(marginal + 1e-9)
  return jnp.mean(jnp.sum(given * log_ratio, axis=(1, 2)) / num_tasks)


def trained_mixture(
  name: str,
  config: models.TransformerConfig,
  recipe: Recipe,
  batch_fn: Callable[[PRNGKeyArray], Batch],
  num_tasks: int,
  divided: float,
  seed: int,
  cache: Directory,
) -> TrainedMixture:
  """A mixture that has learned to predict what the mask marks.

  Args:
    name: in the cache.
    config: its shape.
    recipe: how it is trained.
    batch_fn: draws sequences.
    num_tasks: that they are of.
    divided: weight of the mutual information, of the tokens that predict what
      is learned.
    seed: of the training.
    cache: directory.

  Returns:
    The model.
  """
  # The share of an expert that is not chosen has to be able to grow.
  model = models.transformer(config, straight_through=True)

  def loss_fn(params, batch):
    features, routing = models.read_routed(model, params, batch.tokens[:, :-1])
    losses = optax.softmax_cross_entropy_with_integer_labels(
      model.logits(params, features), batch.tokens[:, 1:]
    )
    counted = batch.mask[:, 1:]
    mean = lambda x: jnp.sum(jnp.where(counted, x, 0.0)) / jnp.sum(counted)
    shares = jax.nn.softmax(routing.logits)
    shares = jnp.where(counted[..., None, None], shares, 0.0).sum(axis=1)
    shares = shares / jnp.sum(counted, axis=1)[:, None, None]
    told = mutual_information(shares, batch.tasks, num_tasks)
    return mean(losses) - divided * told

  params = trained_params(
    f'{name}-{digest(config, recipe, divided, Kernels._fields)}',
    seed,
    cache,
    lambda: model.init(jax.random.key(0)),
    lambda: train(
      loss_fn, model.init, recipe, [batch_fn], jax.random.key(seed)
    ),
  )
  return TrainedMixture(config, params)
