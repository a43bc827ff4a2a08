"""The fifth verb: draws samples in one `while_loop` over the decode state.

  Many responses to each prompt share its keys and values; a finished row costs
  nothing more than its place in the batch, and with fewer rows than responses
  that place is given to the next response at once (continuous batching).

The randomness of a response is `fold_in(fold_in(key of the problem, sample id),
position)`: sample `i` of problem `p` is the same tokens whatever the number of
samples, rows, problems in the batch, or devices. (The arithmetic is the same up
to the rounding of differently shaped matrix products, so on float32 a token can
differ only where a draw falls within about 1e-6 of the border of two tokens.)

Costs, for responses of lengths `L`: `max_i L_i - 1` model steps with as many
rows as responses, else as many as list scheduling onto `R` rows takes.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray

from ttc.models.base import LanguageModel
from ttc.models.experts import RouteOverride
from ttc.models.routing import check_routes
from ttc.models.sharding import on_auto_axes
from ttc.sampling import responses
from ttc.sampling.controllers import Controller, Queue, force
from ttc.sampling.draw import draw, log_prob_of
from ttc.sampling.logits import SamplingParams, check_sampling_params, law
from ttc.sampling.state import DecodeState, has_rows, read_from
from ttc.sampling.stopping import (
  Policy,
  Progress,
  StopRules,
  advance,
  forbid_early_stops,
  wait_for_all,
)
from ttc.types import FinishReason, Generation, Params


class Counters(NamedTuple):
  """What a call of `sample` did, exactly."""

  steps: Int[Array, '']  # rounds of drawing; the model ran one time less
  row_steps: Int[Array, '']  # rows that the model ran on, idle ones included
  tokens: Int[Array, '']  # written to responses
  soft_entries: Int[Array, '']  # embeddings in the rows that it began from


class SampleOutput(NamedTuple):
  """Responses, the state after them, and counters."""

  generation: Generation
  state: DecodeState  # to go on from; with refill, of each row's last response
  counters: Counters


@on_auto_axes
def sample(
  model: LanguageModel,
  params: Params,
  keys: Key[Array, ' B'],
  state: DecodeState,
  stop: StopRules,
  num_samples: int | None = None,
  *,
  sampling: SamplingParams = SamplingParams(),  # noqa: B008
  max_new_tokens: Int[Array, '*A'] | int | None = None,
  active: Bool[Array, '*A'] | None = None,
  sample_ids: Int[Array, '*A'] | None = None,
  policy: Policy = wait_for_all,
  controller: Controller | None = None,
  routes: RouteOverride | None = None,
) -> SampleOutput:
  """Draws `N` responses to each of `B` prompts, or continues rows.

  Args:
    model: static.
    params: its parameters.
    keys: `[B]`, one per problem; consumed. Derive them from what identifies the
      problem, not from its place in the batch.
    state: with `R` rows. They are continued if `N = R`; if `N > R` they must be
      empty, and a row that finishes takes up the next response.
    stop: what ends a response.
    num_samples: `N`, static; None for `R`.
    sampling: the law of a draw; fields broadcast to `[B, N]`.
    max_new_tokens: limit of each response, broadcasts to `[B, N]`; at most the
      room in the state, and behind the prompt in the context of the model. A
      response without room is empty and draws nothing.
    active: responses to draw, broadcasts to `[B, N]`; the others are returned
      empty and cancelled.
    sample_ids: what identifies each response of a problem, by default
      `0..N-1`, broadcasts to `[B, N]`. Other ids draw other responses.
    policy: when to end a problem early; static.
    controller: forces templates into responses; its functions are static.
    routes: what the routers of a mixture of experts are told while a response
      is read, without rows or `[B, 1]` or of each response, `[B, N]`; None for
      those of the state. They belong to the response, whatever row writes it.

  Returns:
    A `SampleOutput`. `generation` holds what this call wrote; its `T` is the
    capacity of the state.

  Raises:
    ValueError: if `N < R`, values of `sampling` mean nothing, the model cannot
      take the routes, or those of `R` rows are to serve more responses.
  """
  check_sampling_params(sampling)
  R = state.tokens.shape[1]
  N = R if num_samples is None else num_samples
  if N < R:
    raise ValueError(f'num_samples={N} is less than the {R} rows of the state')
  if routes is not None:
    check_routes(model, routes, state.tokens.shape[0], N)
    state = state._replace(routes=routes)
  elif has_rows(state.routes) and N > R:
    raise ValueError(
      f'the state has routes of its {R} rows, which are not those of '
      f'{N} responses; give routes to sample'
    )
  steering = controller and controller._replace(templates=None)
  return _sample(
    _Static(model, N, policy, steering),
    params,
    keys,
    state,
    stop,
    controller and controller.templates,
    sampling,
    max_new_tokens,
    active,
    sample_ids,
  )


class _Static(NamedTuple):
  """What a compiled program is made for."""

  model: LanguageModel
  num_samples: int
  policy: Policy
  controller: Controller | None  # without its templates


@functools.partial(jax.jit, static_argnums=0, inline=True)
def _sample(
  static: _Static,
  params: Params,
  keys: Key[Array, ' B'],
  state: DecodeState,
  stop: StopRules,
  templates: Int[Array, 'M F'] | None,
  sampling: SamplingParams,
  max_new_tokens: Array | int | None,
  active: Array | bool | None,
  sample_ids: Array | None,
) -> SampleOutput:
  """`sample`, compiled once for all calls of one kind."""
  model, N, policy, controller = static
  if controller is not None:
    controller = controller._replace(templates=templates)
  B, R, capacity = state.tokens.shape
  spread = lambda x: jnp.broadcast_to(jnp.asarray(x), (B, N))
  active = spread(True if active is None else active)
  limits = spread(capacity if max_new_tokens is None else max_new_tokens)
  context = jnp.minimum(capacity, model.max_length - state.prefix_lengths)
  context = context[:, None]
  begun = state.lengths if N == R else 0
  plan = _Plan(
    model=model,
    params=params,
    keys=jnp.broadcast_to(keys[:, None], (B, R)),
    state=state,
    stop=stop,
    sampling=jax.tree.map(spread, sampling),
    limits=limits,
    active=active,
    waits=active & (jnp.minimum(limits, context - begun) > 0),
    context=context,
    sample_ids=spread(jnp.arange(N) if sample_ids is None else sample_ids),
    policy=policy,
    controller=controller,
  )
  loop = _start(plan)
  # Empty rows draw their first token from the prompt's logits: no model step.
  shape = (B, R, model.vocab_size)
  from_prompt = jnp.broadcast_to(state.prefix_logits[:, None], shape)
  loop = _write(plan, loop, from_prompt, (loop.job < N) & (loop.lengths == 0))

  def step(loop):
    loop, logits = _feed(plan, loop)
    return _write(plan, loop, logits, loop.job < N)

  loop = jax.lax.while_loop(lambda loop: jnp.any(loop.job < N), step, loop)
  counters = Counters(
    steps=loop.steps,
    row_steps=(loop.steps - 1) * B * R,
    tokens=jnp.sum(loop.out.lengths),
    soft_entries=jnp.int32(0) if state.soft is None else state.soft.num_entries,
  )
  return SampleOutput(loop.out, loop.resume(state), counters)


class _Plan(NamedTuple):
  """What does not change in the loop."""

  model: LanguageModel
  params: Params
  keys: Key[Array, 'B R']
  state: DecodeState
  stop: StopRules
  sampling: SamplingParams  # fields [B, N]
  limits: Int[Array, 'B N']
  active: Bool[Array, 'B N']
  waits: Bool[Array, 'B N']  # active and with room for a token
  context: Int[Array, 'B 1']  # most tokens in a row that the model can read
  sample_ids: Int[Array, 'B N']
  policy: Policy
  controller: Controller | None


class _Loop(NamedTuple):
  """What does. Rows write responses; `job` says which."""

  suffix: Any
  tokens: Int[Array, 'B R S']
  lengths: Int[Array, 'B R']
  start: Int[Array, 'B R']  # length at which the row's response begins
  stop_state: Int[Array, 'B R']  # of the stop rules, after what it wrote
  job: Int[Array, 'B R']  # the response it writes; N if it is idle
  next_job: Int[Array, ' B']
  memory: Any  # of the controller, leaves [B, R]
  queue: Queue
  routes: RouteOverride | None  # of the response that each row writes
  out: Generation
  steps: Int[Array, '']

  def resume(self, state: DecodeState) -> DecodeState:
    """The state that the rows are in now."""
    return state._replace(
      suffix=self.suffix,
      tokens=self.tokens,
      lengths=self.lengths,
      routes=self.routes,
    )


def _start(plan: _Plan) -> _Loop:
  """Every row takes up its first response."""
  B, N = plan.active.shape
  R, capacity = plan.state.tokens.shape[1:]
  rows = jnp.broadcast_to(jnp.arange(R, dtype=jnp.int32), (B, R))
  if N == R:  # rows may hold begun responses: response i belongs to row i
    job = jnp.where(plan.waits, rows, N)
  else:
    job = _nth_waiting(plan.waits, jnp.zeros((B,), jnp.int32), rows)
  memory = () if plan.controller is None else plan.controller.init()
  reasons = jnp.where(plan.active, FinishReason.LENGTH, FinishReason.CANCELLED)
  reasons = jnp.where(plan.waits, FinishReason.RUNNING, reasons)
  return _Loop(
    suffix=plan.state.suffix,
    tokens=plan.state.tokens,
    lengths=plan.state.lengths,
    start=plan.state.lengths,
    stop_state=jnp.zeros_like(plan.state.lengths),
    job=job,
    next_job=jnp.max(jnp.where(job < N, job + 1, 0), axis=1),
    memory=jax.tree.map(lambda x: jnp.broadcast_to(x, (B, R)), memory),
    queue=Queue(jnp.full((B, R), -1), jnp.zeros((B, R), jnp.int32)),
    routes=_routes_of(plan, rows if N == R else job),
    out=responses.empty(B, N, capacity, reasons),
    steps=jnp.int32(0),
  )


def _feed(plan: _Plan, loop: _Loop) -> tuple[_Loop, Float[Array, 'B R V']]:
  """Lets the model read the pending token of every row that goes on."""
  state = loop.resume(plan.state)
  pending = read_from(plan.model, plan.params, state, state.cache_lengths, 1)
  reads = (loop.job < plan.active.shape[1]) & (loop.lengths > 0)
  features, cache = plan.model.features(
    plan.params, pending, reads.astype(jnp.int32), state.cache
  )
  logits = plan.model.logits(plan.params, features[:, :, 0])
  empty = (loop.lengths == 0)[..., None]
  logits = jnp.where(empty, state.prefix_logits[:, None], logits)
  return loop._replace(suffix=cache.suffix), logits


def _write(plan: _Plan, loop: _Loop, logits, rows: Bool[Array, 'B R']) -> _Loop:
  """Draws a token for each of `rows` and moves its response on."""
  N = plan.active.shape[1]
  capacity = loop.tokens.shape[-1]
  position = loop.lengths - loop.start
  token, sampling_log_prob = _draw(plan, loop, logits, position)
  invalid = rows & (token < 0)  # nothing to draw: nothing is written
  asked, rows = rows, rows & ~invalid
  token = jnp.maximum(token, 0)
  forced = jnp.zeros(rows.shape, bool)
  if plan.controller is not None:
    loop, token, forced = _steer(plan.controller, loop, token, position, rows)
    sampling_log_prob = jnp.where(forced, 0.0, sampling_log_prob)

  index = jnp.where(rows, loop.lengths, capacity)  # out of range: dropped
  put_token = lambda row, i, x: row.at[i].set(x, mode='drop')
  tokens = _by_row(put_token)(loop.tokens, index, token)
  lengths = loop.lengths + rows
  written = position + rows
  stop_state, stopped = advance(plan.stop, loop.stop_state, token, position)
  stopped &= rows & ~forced
  cut = (written >= _of_job(plan.limits, loop.job)) | (lengths >= plan.context)
  reason = jnp.where(cut, FinishReason.LENGTH, FinishReason.RUNNING)
  reason = jnp.where(stopped, FinishReason.STOP, reason)
  reason = jnp.where(invalid, FinishReason.INVALID, reason)

  job = jnp.where(asked, loop.job, N)  # writes to response N are dropped
  place = jnp.where(rows, position, capacity)
  # Mapped, not indexed, over B: problems on different devices stay there.
  by_problem = lambda put: lambda x, value: jax.vmap(put)(x, job, place, value)
  put = by_problem(lambda x, n, _, value: x.at[n].set(value, mode='drop'))
  put_at = by_problem(lambda x, n, t, value: x.at[n, t].set(value, mode='drop'))
  out = Generation(
    tokens=put_at(loop.out.tokens, token),
    lengths=put(loop.out.lengths, written),
    log_probs=put_at(loop.out.log_probs, _by_row(log_prob_of)(logits, token)),
    sampling_log_probs=put_at(loop.out.sampling_log_probs, sampling_log_prob),
    finish_reasons=put(loop.out.finish_reasons, reason),
  )
  loop = loop._replace(
    tokens=tokens,
    lengths=lengths,
    stop_state=jnp.where(rows, stop_state, loop.stop_state),
    out=out,
    steps=loop.steps + 1,
  )
  return _cancel(plan, _refill(plan, loop, asked & (stopped | cut | invalid)))


def _draw(plan: _Plan, loop: _Loop, logits, position):
  """A token for each row and its log-probability under the sampling law."""
  keys = _by_row(_fold_in)(
    plan.keys, _of_job(plan.sample_ids, loop.job), loop.lengths
  )
  if plan.controller is not None and plan.controller.logits is not None:
    logits = _by_row(plan.controller.logits)(loop.memory, logits, position)
  logits = forbid_early_stops(plan.stop, logits, position)
  of_row = jax.tree.map(lambda x: _of_job(x, loop.job), plan.sampling)
  return _by_row(draw)(keys, law(logits, of_row))


def _steer(controller: Controller, loop: _Loop, token, position, rows):
  """Lets the controller replace drawn tokens by those of its templates."""
  was_forcing = loop.queue.template >= 0
  wanted, memory = _by_row(controller.update)(loop.memory, token, position)
  force_row = functools.partial(force, controller.templates)
  token, queue = _by_row(force_row)(loop.queue, wanted, token)
  choose = lambda mask: lambda new, old: jnp.where(mask, new, old)
  loop = loop._replace(
    memory=jax.tree.map(choose(rows & ~was_forcing), memory, loop.memory),
    queue=jax.tree.map(choose(rows), queue, loop.queue),
  )
  return loop, token, was_forcing | (wanted >= 0)


def _refill(plan: _Plan, loop: _Loop, finished: Bool[Array, 'B R']) -> _Loop:
  """Gives the rows of finished responses to those that wait."""
  N = plan.active.shape[1]
  rank = jnp.cumsum(finished, axis=1) - 1
  following = _nth_waiting(plan.waits, loop.next_job, rank)
  fresh = finished & (following < N)
  last = jnp.max(jnp.where(fresh, following, -1), axis=1)
  if has_rows(plan.state.routes):
    renew = lambda new, old: jnp.where(
      jnp.expand_dims(fresh, range(2, old.ndim)), new, old
    )
    following_routes = _routes_of(plan, following)
    loop = loop._replace(
      routes=jax.tree.map(renew, following_routes, loop.routes)
    )
  loop = loop._replace(
    job=jnp.where(finished, following, loop.job),
    next_job=jnp.maximum(loop.next_job, last + 1),
    lengths=jnp.where(fresh, 0, loop.lengths),
    start=jnp.where(fresh, 0, loop.start),
    stop_state=jnp.where(fresh, 0, loop.stop_state),
  )
  if plan.controller is None:
    return loop
  reset = lambda initial, old: jnp.where(fresh, initial, old)
  return loop._replace(
    memory=jax.tree.map(reset, plan.controller.init(), loop.memory),
    queue=loop.queue._replace(template=reset(-1, loop.queue.template)),
  )


def _cancel(plan: _Plan, loop: _Loop) -> _Loop:
  """Asks the policy, and ends the problems that have enough."""
  N = plan.active.shape[1]
  out = loop.out
  progress = Progress(out.tokens, out.lengths, out.finish_reasons)
  enough = jax.vmap(plan.policy)(progress)
  running = out.finish_reasons == FinishReason.RUNNING
  reasons = jnp.where(
    enough[:, None] & running, FinishReason.CANCELLED, out.finish_reasons
  )
  return loop._replace(
    job=jnp.where(enough[:, None], N, loop.job),
    next_job=jnp.where(enough, N, loop.next_job),
    out=out._replace(finish_reasons=reasons),
  )


def _nth_waiting(
  active: Bool[Array, 'B N'], begin: Int[Array, ' B'], rank: Int[Array, 'B R']
) -> Int[Array, 'B R']:
  """Index of the `rank`-th active response from `begin` on; N if none."""
  N = active.shape[1]
  waiting = active & (jnp.arange(N) >= begin[:, None])
  order = jnp.argsort(~waiting, axis=1, stable=True)
  index = jnp.take_along_axis(order, jnp.clip(rank, 0, N - 1), axis=1)
  exists = (rank >= 0) & (rank < jnp.sum(waiting, axis=1, keepdims=True))
  return jnp.where(exists, index, N).astype(jnp.int32)


def _of_job(x: Array, job: Int[Array, 'B R']) -> Array:
  """What belongs to the response that each row writes."""
  return jnp.take_along_axis(x, job, axis=1, mode='clip')


def _routes_of(plan: _Plan, job: Int[Array, 'B R']) -> RouteOverride | None:
  """The routes of the response that each row writes."""
  routes = plan.state.routes
  if not has_rows(routes):
    return routes
  take = jax.vmap(lambda leaf, index: leaf.at[index].get(mode='clip'))
  return jax.tree.map(lambda leaf: take(leaf, job), routes)


def _fold_in(key: PRNGKeyArray, sample_id, position) -> PRNGKeyArray:
  return jax.random.fold_in(jax.random.fold_in(key, sample_id), position)


def _by_row(fn):
  """Maps a function of one row over `[B, R]`."""
  return jax.vmap(jax.vmap(fn))
