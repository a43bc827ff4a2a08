"""Questions as a mixture of experts reads them, and under given routes.

A pathway is the law of the routers at the last prompt token, before top-k. An
override of it holds from that token on, so in decoding every generated token
follows it as well (as in C3PO's released code); or at that token only, and the
router is free again behind it.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from ttc import models
from ttc.models import LanguageModel, RouteOverride
from ttc.types import Params, Prompt


class Read(NamedTuple):
  """What a model makes of a prompt."""

  features: Float[Array, 'B D']  # hidden state of its last token
  pathways: Float[Array, 'B L E']  # 0 in layers without experts


class Answered(NamedTuple):
  """Prompts, each with its answer behind it.

  Attributes:
    tokens: padded on the right.
    prompt_lengths: tokens of the prompts.
    lengths: tokens of both.
  """

  tokens: Int[Array, 'B T']
  prompt_lengths: Int[Array, ' B']
  lengths: Int[Array, ' B']

  @property
  def prompt(self) -> Prompt:
    """Without the answers."""
    return Prompt(self.tokens, self.prompt_lengths)


def read_prompts(
  model: LanguageModel,
  params: Params,
  prompt: Prompt,
  override: RouteOverride | None = None,
) -> Read:
  """Hidden states and pathways of prompts; costs one pass.

  Args:
    model: with experts.
    params: its own.
    prompt: to read.
    override: what its routers are told instead, without rows or `[B, 1]`; its
      bias is part of the pathway.

  Returns:
    What it makes of them.
  """
  features, routing = models.read_routed(
    model, params, prompt.tokens, prompt.lengths, override
  )
  last = prompt.lengths - 1
  at_last = lambda x: jax.vmap(lambda row, i: row[i])(x, last)
  logits, weights = at_last(routing.logits), at_last(routing.weights)
  if override is not None:
    rows = override.bias.ndim > 2
    logits = logits + (override.bias[:, 0] if rows else override.bias)
  is_mixture = jnp.any(weights > 0, axis=-1, keepdims=True)
  pathways = jnp.where(is_mixture, jax.nn.softmax(logits), 0.0)
  return Read(at_last(features), pathways)


def mean_embeddings(
  model: LanguageModel, params: Params, prompt: Prompt
) -> Float[Array, 'B D']:
  """The mean of a prompt's input embeddings: what it is about, not where."""
  embedded = models.embed(model, params, prompt.tokens).astype(jnp.float32)
  inside = jnp.arange(prompt.tokens.shape[1]) < prompt.lengths[:, None]
  total = jnp.sum(jnp.where(inside[..., None], embedded, 0.0), axis=1)
  return total / prompt.lengths[:, None]


def override_of(
  pathways: Float[Array, 'B L E'],
  layers: Bool[Array, 'B L'],
  prompt_lengths: Int[Array, ' B'],
  length: int,
  only_last: bool = False,
) -> RouteOverride:
  """Routes that follow a pathway from the last prompt token on.

  Args:
    pathways: of each prompt.
    layers: that follow it.
    prompt_lengths: tokens of the prompts.
    length: longest prompt; static.
    only_last: at the last prompt token only, not at generated ones; static.

  Returns:
    An override of each prompt.
  """
  place = jnp.arange(length + 1)
  last = prompt_lengths[:, None] - 1
  positions = place == last if only_last else place >= last
  return RouteOverride(
    jnp.zeros_like(pathways)[:, None],
    pathways[:, None],
    jnp.broadcast_to(layers[..., None], pathways.shape)[:, None],
    positions[:, None],
  )


def answer_losses(
  model: LanguageModel,
  params: Params,
  texts: Answered,
  override: RouteOverride | None = None,
) -> Float[Array, ' B']:
  """Cross-entropy of each answer given its prompt, nats per token of it.

  Args:
    model: with experts; with `straight_through` gradients see all of them.
    params: its own.
    texts: prompts and answers.
    override: what its routers are told, without rows or `[B, 1]`.

  Returns:
    The losses; costs one pass.
  """
  inputs = texts.tokens[:, :-1]
  lengths = texts.lengths - 1
  features, _ = models.read_routed(model, params, inputs, lengths, override)
  losses = optax.softmax_cross_entropy_with_integer_labels(
    model.logits(params, features), texts.tokens[:, 1:]
  )
  place = jnp.arange(1, texts.tokens.shape[1])
  answer = (place >= texts.prompt_lengths[:, None]) & (
    place < texts.lengths[:, None]
  )
  total = jnp.sum(jnp.where(answer, losses, 0.0), axis=1)
  return total / jnp.maximum(jnp.sum(answer, axis=1), 1)
