"""C3PO on a model: find the neighbours of each question, and its pathway.

A surrogate is a function `(question, loss_fn) -> pathway`; the three of
`c3po.py` are made here, with the numbers that they take.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from ttc.experts import c3po
from ttc.experts.c3po import LogKernel, LossFn
from ttc.experts.pathways import MakeSpace, free_experts, logit_space
from ttc.experts.questions import Answered, answer_losses, override_of
from ttc.models import LanguageModel
from ttc.types import Params


class References(NamedTuple):
  """Questions that the model got right, with how it got there."""

  texts: Answered
  embeddings: Float[Array, 'R D']
  pathways: Float[Array, 'R L E']


class Question(NamedTuple):
  """What a surrogate knows of a question."""

  pathway: Float[Array, 'L E']  # the router's
  free: Bool[Array, 'L E']
  pathways: Float[Array, 'K L E']  # of its neighbours
  weights: Float[Array, ' K']


Surrogate: TypeAlias = Callable[[Question, LossFn], Float[Array, 'L E']]


class Rerouted(NamedTuple):
  """New pathways, and what they came from."""

  pathways: Float[Array, 'B L E']
  layers: Bool[Array, 'B L']  # that were free to change
  neighbours: Int[Array, 'B K']  # ids in the reference set
  weights: Float[Array, 'B K']


def by_mode_finding(
  num_steps: int = 10, alpha: float = 0.5, bandwidth: float = 0.5
) -> Surrogate:
  """Mean shift; no pass over the neighbours."""
  return lambda question, loss_fn: c3po.mode_finding(
    question.pathway,
    question.pathways,
    question.free,
    num_steps,
    alpha=alpha,
    bandwidth=bandwidth,
  )


def by_kernel_regression(
  alphas: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0),
) -> Surrogate:
  """Kernel regression; `k` passes for each alpha if there are several."""

  def surrogate(question, loss_fn):
    make = lambda alpha: c3po.kernel_regression(
      question.pathway,
      question.pathways,
      question.weights,
      question.free,
      alpha=alpha,
    )
    if len(alphas) == 1:
      return make(alphas[0])
    return c3po.best_alpha(make, loss_fn, jnp.asarray(alphas, jnp.float32))

  return surrogate


def by_gradient_descent(
  optimizer: optax.GradientTransformation,
  num_steps: int = 10,
  make_space: MakeSpace = logit_space,
) -> Surrogate:
  """Neighbourhood gradient descent; `3 k` passes for each step."""
  return lambda question, loss_fn: (
    c3po.neighbourhood_gradient_descent(
      question.pathway, loss_fn, question.free, optimizer, num_steps, make_space
    ).pathway
  )


def reroute(
  model: LanguageModel,
  params: Params,
  surrogate: Surrogate,
  embeddings: Float[Array, 'B D'],
  pathways: Float[Array, 'B L E'],
  references: References,
  log_kernel: LogKernel,
  *,
  num_neighbours: int = 3,
  num_layers: int = 5,
  num_core: int = 20,
  only_last: bool = False,
  is_same: Bool[Array, 'B R'] | None = None,
) -> Rerouted:
  """The pathway of each of `B` questions, from its own neighbours.

  A result depends on the question and the references, not on the batch.

  Args:
    model: static. With `straight_through`, gradients reach experts that top-k
      leaves out; without, descent can only re-weigh those that it took.
    params: its own.
    surrogate: how; static.
    embeddings: of the questions, like those of the references.
    pathways: of the questions, by the router.
    references: the reference set.
    log_kernel: of embeddings; static.
    num_neighbours: `k`; static.
    num_layers: critical layers; static.
    num_core: core experts of each; static.
    only_last: see `override_of`; static.
    is_same: references that are the question itself: never its neighbours.

  Returns:
    The pathways; `override_of` makes the routes of them.

  Raises:
    ValueError: if there are fewer references, layers or experts.
  """
  if is_same is None:
    shape = (len(embeddings), len(references.embeddings))
    is_same = jnp.zeros(shape, bool)

  def one(embedding, pathway, is_same):
    found = c3po.find_neighbours(
      embedding, references.embeddings, num_neighbours, log_kernel, is_same
    )
    near = jax.tree.map(lambda leaf: leaf[found.ids], references)
    free = free_experts(pathway, num_layers, num_core)
    layers = jnp.any(free, axis=-1)
    loss_fn = functools.partial(
      _neighbours_loss, model, params, near.texts, found.weights, layers,
      only_last,
    )  # fmt: skip
    question = Question(pathway, free, near.pathways, found.weights)
    return surrogate(question, loss_fn), layers, found.ids, found.weights

  return Rerouted(*jax.vmap(one)(embeddings, pathways, is_same))


def _neighbours_loss(model, params, texts, weights, layers, only_last, pathway):
  """Weighted cross-entropy of the neighbours' answers under one pathway."""
  K, T = texts.tokens.shape
  every = lambda x: jnp.broadcast_to(x, (K, *x.shape))
  override = override_of(
    every(pathway), every(layers), texts.prompt_lengths, T, only_last
  )
  return weights @ answer_losses(model, params, texts, override)
