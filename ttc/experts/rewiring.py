r"""Rewiring Experts on the Fly: a router learns from the context alone.

Su et al., 2510.14853. Routers of a few layers get an additive vector
:math:`\delta_l`, shared by all tokens:

.. math:: p = \mathrm{softmax}(W_r h + \delta_l), \quad
  \delta \leftarrow \arg\min_\delta -\frac{1}{T - 1}
    \sum_{t > 1} \log p(x_t \mid x_{<t}; \delta) + \lambda \|\delta\|^2

found by `S` gradient steps on the prompt, and again on the prompt and what was
generated after every `m` tokens. Only layers whose routers are sure of
themselves in this context get one. The forward pass takes the top-k as always;
of a model with `straight_through` gradients see the softmax over all experts,
of another only those that were chosen. No reference data, no labels.

Costs `1 + 3 S` passes over the prompt, and as many over the whole text in each
further cycle; keys and values computed before a cycle are those of the old
vectors, and are either kept or computed again, one more pass.
"""

import functools
from typing import Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, Key

from ttc import models
from ttc.experts.questions import Answered, answer_losses
from ttc.models import LanguageModel, RouteOverride
from ttc.models.routing import check_routes
from ttc.sampling import decode, responses
from ttc.sampling.logits import SamplingParams
from ttc.sampling.state import DecodeState, extend, prefill
from ttc.sampling.stopping import StopRules, read_tokens
from ttc.types import FinishReason, Generation, Params, Prompt

CachePolicy: TypeAlias = Literal['keep', 'recompute']


class Rewiring(NamedTuple):
  """How routers learn; the numbers are the paper's, from memory.

  Attributes:
    optimizer: of the vectors.
    num_steps: `S` of a cycle; static.
    layer_share: share of layers with experts that get a vector, rounded up; the
      surest ones. Static.
    l2: weight of the squared norm; traced.
    interval: `m`, tokens from one cycle to the next; static.
    continues: whether a cycle begins from the vectors of the last one instead
      of from 0. A long run then drifts, unless `l2` holds it. Static.
    cache: what becomes of keys and values of old vectors: 'keep' reads them as
      they are, 'recompute' reads the text again. Static.
  """

  optimizer: optax.GradientTransformation = optax.adam(1e-2)
  num_steps: int = 5
  layer_share: float = 0.5
  l2: float | Float[Array, ''] = 0.0
  interval: int = 128
  continues: bool = False
  cache: CachePolicy = 'keep'


class Rewired(NamedTuple):
  """What the routers of each of `B` texts have learned."""

  bias: Float[Array, 'B L E']
  losses: Float[Array, 'B S']  # of the text before each step: not a metric
  layers: Bool[Array, 'B L']  # that have a vector


class RewiredGeneration(NamedTuple):
  """Responses, and the vectors of each cycle."""

  generation: Generation  # one response to each prompt
  bias: Float[Array, 'C B L E']
  losses: Float[Array, 'C B S']
  read: Int[Array, 'C B']  # tokens that each cycle learned from; 0: had ended


def bias_routes(bias: Float[Array, 'B L E']) -> RouteOverride:
  """Vectors of each text as its routes, at every position."""
  bias = bias[:, None]
  everywhere = jnp.ones((*bias.shape[:2], 1), bool)
  nowhere = jnp.zeros(bias.shape, bool)
  return RouteOverride(bias, jnp.zeros_like(bias), nowhere, everywhere)


def router_confidence(
  logits: Float[Array, 'B T L E'], lengths: Int[Array, ' B']
) -> Float[Array, 'B L']:
  """How sure routers are: the negative entropy of their law, mean of tokens.

  Args:
    logits: of the routers.
    lengths: tokens that count.

  Returns:
    Nats, between `-log E` and 0.
  """
  log_p = jax.nn.log_softmax(logits)
  negative_entropy = jnp.sum(jnp.exp(log_p) * log_p, axis=-1)
  inside = jnp.arange(logits.shape[1]) < lengths[:, None]
  total = jnp.sum(jnp.where(inside[..., None], negative_entropy, 0.0), axis=1)
  return total / lengths[:, None]


def confident_layers(
  confidence: Float[Array, 'B L'], is_mixture: Bool[Array, ' L'], share: float
) -> Bool[Array, 'B L']:
  """The surest of the layers with experts, a share of them rounded up."""
  sure = jnp.where(is_mixture, confidence, -jnp.inf)
  order = jnp.argsort(-sure, axis=-1, stable=True)
  place = jnp.argsort(order, axis=-1)
  return is_mixture & (place < jnp.ceil(share * jnp.sum(is_mixture)))


def rewire(
  model: LanguageModel,
  params: Params,
  texts: Prompt,
  rewiring: Rewiring,
  start: Float[Array, 'B L E'] | None = None,
  router_bias: Float[Array, 'L E'] | float = 0.0,
) -> Rewired:
  """Router vectors of each text, learned from it alone.

  Args:
    model: static; with `straight_through`, see the module.
    params: its own.
    texts: of at least two tokens each.
    rewiring: how.
    start: to begin from; None for 0.
    router_bias: that the routers have already, and vectors are added to.

  Returns:
    The vectors, without that bias. Those of a text do not depend on the others.

  Raises:
    ValueError: if the model has no experts or `rewiring` means nothing.
  """
  check_rewiring(rewiring)
  B = texts.tokens.shape[0]
  none = jnp.zeros((B, *check_routes(model, None).shape), jnp.float32)
  routing = models.routing(
    model, params, texts.tokens, bias_routes(none + router_bias), texts.lengths
  )
  is_mixture = jnp.any(routing.weights > 0, axis=(0, 1, 3))
  layers = confident_layers(
    router_confidence(routing.logits + router_bias, texts.lengths),
    is_mixture,
    rewiring.layer_share,
  )
  start = none if start is None else start

  def one(tokens, length, layers, start):
    text = Answered(tokens[None], jnp.ones((1,), jnp.int32), length[None])

    def loss_fn(delta):
      bias = layers[:, None] * delta
      routes = bias_routes((bias + router_bias)[None])
      loss = answer_losses(model, params, text, routes)[0]
      return loss + rewiring.l2 * jnp.sum(jnp.square(bias)), loss

    def step(carry, _):
      delta, opt_state = carry
      grads, loss = jax.grad(loss_fn, has_aux=True)(delta)
      updates, opt_state = rewiring.optimizer.update(grads, opt_state, delta)
      return (optax.apply_updates(delta, updates), opt_state), loss

    carry = start, rewiring.optimizer.init(start)
    (delta, _), losses = jax.lax.scan(step, carry, length=rewiring.num_steps)
    return layers[:, None] * delta, losses

  bias, losses = jax.vmap(one)(texts.tokens, texts.lengths, layers, start)
  return Rewired(bias, losses, layers)


def generate_rewired(
  model: LanguageModel,
  params: Params,
  keys: Key[Array, ' B'],
  prompt: Prompt,
  rewiring: Rewiring,
  *,
  capacity: int,
  stop: StopRules,
  learner: LanguageModel | None = None,
  sampling: SamplingParams = SamplingParams(),  # noqa: B008
  router_bias: Float[Array, 'L E'] | float = 0.0,
) -> RewiredGeneration:
  """One response to each prompt by routers that learn while it is written.

  More samples of a prompt are more rows of `prompt`, with other keys: each has
  vectors of its own.

  Args:
    model: that generates; static.
    params: its own.
    keys: one per prompt; consumed.
    prompt: of at least two tokens each.
    rewiring: how routers learn.
    capacity: most tokens of a response; static.
    stop: what ends one, wherever cycles end.
    learner: the model whose gradients are taken, of the same parameters: with
      `straight_through`; None for `model`. Static.
    sampling: the law of a draw.
    router_bias: that the routers have already.

  Returns:
    Responses and vectors. With vectors of 0 a response is the one that
    `sampling.generate` draws.
  """
  check_rewiring(rewiring)
  B = prompt.tokens.shape[0]
  job = _Job(
    model, learner or model, params, keys, prompt, rewiring, capacity, stop,
    sampling, router_bias,
  )  # fmt: skip
  nothing = responses.empty(B, 1, capacity)
  found, lengths = _learn(job, nothing)
  wrote = _write(job, _read(job, found.bias), nothing, jnp.zeros((B, 1), bool))
  (_, out, _, _), told = jax.lax.scan(
    lambda carry, _: jax.lax.cond(
      jnp.all(carry[2]),  # all have ended: nothing more is learned
      functools.partial(_stay, job),
      functools.partial(_go_on, job),
      carry,
    ),
    (*wrote, found.bias),
    length=-(-capacity // rewiring.interval) - 1,
  )
  first = (found.bias, found.losses, lengths)
  join = lambda one, rest: jnp.concatenate([one[None], rest])
  return RewiredGeneration(out, *map(join, first, told))


class _Job(NamedTuple):
  """The arguments of `generate_rewired`."""

  model: LanguageModel
  learner: LanguageModel
  params: Params
  keys: Key[Array, ' B']
  prompt: Prompt
  rewiring: Rewiring
  capacity: int
  stop: StopRules
  sampling: SamplingParams
  router_bias: Float[Array, 'L E'] | float


def _learn(job: _Job, out: Generation, start=None):
  """What routers learn of the text so far, and its lengths."""
  text = _behind(job.prompt, out, job.capacity)
  found = rewire(
    job.learner, job.params, text, job.rewiring, start, job.router_bias
  )
  return found, text.lengths


def _read(job: _Job, bias: Float[Array, 'B L E']) -> DecodeState:
  """The prompts, read under vectors."""
  routes = bias_routes(bias + job.router_bias)
  return prefill(
    job.model, job.params, job.prompt, 1, job.capacity, routes=routes
  )


def _write(job: _Job, state: DecodeState, out: Generation, done):
  """Goes on for `m` tokens."""
  left = job.capacity - out.lengths
  # Of those that go on all are equally long.
  early = job.stop.min_tokens - jnp.max(out.lengths)
  drawn = decode.sample(
    job.model,
    job.params,
    job.keys,
    state,
    job.stop._replace(min_tokens=jnp.maximum(early, 0)),
    sampling=job.sampling,
    max_new_tokens=jnp.minimum(left, job.rewiring.interval),
    active=~done & (left > 0),
    stop_states=read_tokens(job.stop, out.tokens, out.lengths),
  )
  out = responses.join(out, drawn.generation)
  return drawn.state, out, out.finish_reasons != FinishReason.LENGTH


def _go_on(job: _Job, carry):
  """A cycle: learns, and writes."""
  state, out, done, bias = carry
  found, lengths = _learn(job, out, bias if job.rewiring.continues else None)
  # A response that has ended keeps its last vectors.
  bias = jnp.where(done[..., None], bias, found.bias)
  losses = jnp.where(done, 0.0, found.losses)
  if job.rewiring.cache == 'keep':
    state = state._replace(routes=bias_routes(bias + job.router_bias))
  else:
    state = _read(job, bias)
    state = extend(job.model, job.params, state, out.tokens, out.lengths)
  told = (bias, losses, jnp.where(done[:, 0], 0, lengths))
  return (*_write(job, state, out, done), bias), told


def _stay(job: _Job, carry):
  """A cycle after the end."""
  bias = carry[-1]
  B, S = bias.shape[0], job.rewiring.num_steps
  told = (bias, jnp.zeros((B, S), jnp.float32), jnp.zeros((B,), jnp.int32))
  return carry, told


def _behind(prompt: Prompt, out: Generation, capacity: int) -> Prompt:
  """Prompts with what was generated behind them."""
  text = jnp.pad(prompt.tokens, ((0, 0), (0, capacity)))
  text = responses.write_behind(
    text[:, None], out.tokens, prompt.lengths[:, None]
  )
  return Prompt(text[:, 0], prompt.lengths + out.lengths[:, 0])


def check_rewiring(rewiring: Rewiring) -> None:
  """Raises ValueError for values that mean nothing."""
  for name in ('num_steps', 'interval'):
    if getattr(rewiring, name) < 1:
      raise ValueError(f'{name}={getattr(rewiring, name)} must be at least 1')
  if not 0 < rewiring.layer_share <= 1:
    raise ValueError(
      f'layer_share={rewiring.layer_share:g} must be above 0 and at most 1'
    )
  if rewiring.cache not in ('keep', 'recompute'):
    raise ValueError(f"cache={rewiring.cache!r} must be 'keep' or 'recompute'")
