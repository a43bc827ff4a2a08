"""The loop that writes responses: rows take them up, one after another.

`Jobs` is what is wanted of each problem, `Loop` how far its rows are; both have
a leading axis `B`, so that a problem can be put in the place of another. `step`
has the model read the pending token of every row and draws the next.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray

from ttc.models.base import LanguageModel
from ttc.models.experts import RouteOverride
from ttc.sampling import responses
from ttc.sampling.controllers import Controller, Queue, force
from ttc.sampling.draw import draw, log_prob_of
from ttc.sampling.logits import SamplingParams, law
from ttc.sampling.state import DecodeState, has_rows, read_from
from ttc.sampling.stopping import (
  Policy,
  Progress,
  StopRules,
  advance,
  forbid_early_stops,
)
from ttc.types import FinishReason, Generation, Params


class Jobs(NamedTuple):
  """What is to be drawn: `N` responses to each of `B` prompts, by `R` rows."""

  keys: Key[Array, 'B R']
  state: DecodeState  # that the rows begin from
  sampling: SamplingParams  # fields [B, N]
  limits: Int[Array, 'B N']
  active: Bool[Array, 'B N']
  waits: Bool[Array, 'B N']  # active and with room for a token
  context: Int[Array, 'B 1']  # most tokens in a row that the model can read
  sample_ids: Int[Array, 'B N']
  stop_states: Int[Array, 'B N']  # where a response that is continued begins


class Plan(NamedTuple):
  """What does not change in the loop."""

  model: LanguageModel
  params: Params
  stop: StopRules
  policy: Policy
  controller: Controller | None
  jobs: Jobs


class Loop(NamedTuple):
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


def make_jobs(
  model: LanguageModel,
  keys: Key[Array, ' B'],
  state: DecodeState,
  num_samples: int,
  sampling: SamplingParams,
  max_new_tokens: Array | int | None = None,
  active: Array | bool | None = None,
  sample_ids: Array | None = None,
  stop_states: Array | None = None,
) -> Jobs:
  """The arguments of `sample`, each of which broadcasts to `[B, N]`."""
  B, R, capacity = state.tokens.shape
  spread = lambda x: jnp.broadcast_to(jnp.asarray(x), (B, num_samples))
  active = spread(True if active is None else active)
  limits = spread(capacity if max_new_tokens is None else max_new_tokens)
  context = jnp.minimum(capacity, model.max_length - state.prefix_lengths)
  context = context[:, None]
  begun = state.lengths if num_samples == R else 0
  ids = jnp.arange(num_samples) if sample_ids is None else sample_ids
  return Jobs(
    keys=jnp.broadcast_to(keys[:, None], (B, R)),
    state=state,
    sampling=jax.tree.map(spread, sampling),
    limits=limits,
    active=active,
    waits=active & (jnp.minimum(limits, context - begun) > 0),
    context=context,
    sample_ids=spread(ids),
    stop_states=spread(0 if stop_states is None else stop_states),
  )


def start(plan: Plan) -> Loop:
  """Every row takes up its first response."""
  B, N = plan.jobs.active.shape
  R, capacity = plan.jobs.state.tokens.shape[1:]
  rows = jnp.broadcast_to(jnp.arange(R, dtype=jnp.int32), (B, R))
  if N == R:  # rows may hold begun responses: response i belongs to row i
    job = jnp.where(plan.jobs.waits, rows, N)
  else:
    job = _nth_waiting(plan.jobs.waits, jnp.zeros((B,), jnp.int32), rows)
  memory = () if plan.controller is None else plan.controller.init()
  reasons = jnp.where(
    plan.jobs.active, FinishReason.LENGTH, FinishReason.CANCELLED
  )
  reasons = jnp.where(plan.jobs.waits, FinishReason.RUNNING, reasons)
  return Loop(
    suffix=plan.jobs.state.suffix,
    tokens=plan.jobs.state.tokens,
    lengths=plan.jobs.state.lengths,
    start=plan.jobs.state.lengths,
    stop_state=_of_job(plan.jobs.stop_states, job).astype(jnp.int32),
    job=job,
    next_job=jnp.max(jnp.where(job < N, job + 1, 0), axis=1),
    memory=jax.tree.map(lambda x: jnp.broadcast_to(x, (B, R)), memory),
    queue=Queue(jnp.full((B, R), -1), jnp.zeros((B, R), jnp.int32)),
    routes=_routes_of(plan, rows if N == R else job),
    out=responses.empty(B, N, capacity, reasons),
    steps=jnp.int32(0),
  )


def step(plan: Plan, loop: Loop) -> Loop:
  """One token more of every row that writes a response."""
  loop, logits = feed(plan, loop)
  return write(plan, loop, logits, is_busy(loop))


def is_busy(loop: Loop) -> Bool[Array, 'B R']:
  """Which rows write a response."""
  return loop.job < loop.out.lengths.shape[1]


def feed(plan: Plan, loop: Loop) -> tuple[Loop, Float[Array, 'B R V']]:
  """Lets the model read the pending token of every row that goes on."""
  state = loop.resume(plan.jobs.state)
  pending = read_from(plan.model, plan.params, state, state.cache_lengths, 1)
  reads = is_busy(loop) & (loop.lengths > 0)
  features, cache = plan.model.features(
    plan.params, pending, reads.astype(jnp.int32), state.cache
  )
  logits = plan.model.logits(plan.params, features[:, :, 0])
  empty = (loop.lengths == 0)[..., None]
  logits = jnp.where(empty, state.prefix_logits[:, None], logits)
  return loop._replace(suffix=cache.suffix), logits


def write(plan: Plan, loop: Loop, logits, rows: Bool[Array, 'B R']) -> Loop:
  """Draws a token for each of `rows` and moves its response on."""
  N = plan.jobs.active.shape[1]
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
  cut = (written >= _of_job(plan.jobs.limits, loop.job)) | (
    lengths >= plan.jobs.context
  )
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


def _draw(plan: Plan, loop: Loop, logits, position):
  """A token for each row and its log-probability under the sampling law."""
  keys = _by_row(_fold_in)(
    plan.jobs.keys, _of_job(plan.jobs.sample_ids, loop.job), loop.lengths
  )
  if plan.controller is not None and plan.controller.logits is not None:
    logits = _by_row(plan.controller.logits)(loop.memory, logits, position)
  logits = forbid_early_stops(plan.stop, logits, position)
  of_row = jax.tree.map(lambda x: _of_job(x, loop.job), plan.jobs.sampling)
  return _by_row(draw)(keys, law(logits, of_row))


def _steer(controller: Controller, loop: Loop, token, position, rows):
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


def _refill(plan: Plan, loop: Loop, finished: Bool[Array, 'B R']) -> Loop:
  """Gives the rows of finished responses to those that wait."""
  N, R = plan.jobs.active.shape[1], finished.shape[1]
  if N == R:  # every response has a row of its own, and none waits
    return loop._replace(job=jnp.where(finished, N, loop.job))
  rank = jnp.cumsum(finished, axis=1) - 1
  following = _nth_waiting(plan.jobs.waits, loop.next_job, rank)
  fresh = finished & (following < N)
  last = jnp.max(jnp.where(fresh, following, -1), axis=1)
  if has_rows(plan.jobs.state.routes):
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
    stop_state=jnp.where(
      fresh, _of_job(plan.jobs.stop_states, following), loop.stop_state
    ),
  )
  if plan.controller is None:
    return loop
  reset = lambda initial, old: jnp.where(fresh, initial, old)
  return loop._replace(
    memory=jax.tree.map(reset, plan.controller.init(), loop.memory),
    queue=loop.queue._replace(template=reset(-1, loop.queue.template)),
  )


def _cancel(plan: Plan, loop: Loop) -> Loop:
  """Asks the policy, and ends the problems that have enough."""
  N = plan.jobs.active.shape[1]
  out = loop.out
  progress = Progress(out.tokens, out.lengths, out.finish_reasons)
  enough = jax.vmap(plan.policy)(progress)
  running = out.finish_reasons == FinishReason.RUNNING
  reasons = jnp.where(
    enough[:, None] & running, FinishReason.CANCELLED, out.finish_reasons
  )
  return loop._replace(
    job=jnp.where(enough[:, None], N, loop.job),
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
  """What belongs to the response that each row writes; an idle row has any."""
  if x.shape == job.shape:  # response i belongs to row i
    return x
  return jnp.take_along_axis(x, job, axis=1, mode='clip')


def _routes_of(plan: Plan, job: Int[Array, 'B R']) -> RouteOverride | None:
  """The routes of the response that each row writes."""
  routes = plan.jobs.state.routes
  if not has_rows(routes):
    return routes
  take = jax.vmap(lambda leaf, index: leaf.at[index].get(mode='clip'))
  return jax.tree.map(lambda leaf: take(leaf, job), routes)


def _fold_in(key: PRNGKeyArray, sample_id, position) -> PRNGKeyArray:
  return jax.random.fold_in(jax.random.fold_in(key, sample_id), position)


def _by_row(fn: Callable[..., Any]) -> Callable[..., Any]:
  """Maps a function of one row over `[B, R]`."""
  return jax.vmap(jax.vmap(fn))
