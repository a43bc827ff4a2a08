"""The fifth verb: draws samples in one `while_loop` over the decode state.

  Many responses to each prompt share its keys and values; a finished row costs
  nothing more than its place in the batch, and with fewer rows than responses
  that place is given to the next response at once (continuous batching).

The randomness of a response is `fold_in(fold_in(key of the problem, sample id),
position)`: sample `i` of problem `p` is the same tokens whatever the number of
samples, rows, problems in the batch, or devices. (The arithmetic is the same up
to the rounding of differently shaped matrix products, so on float32 a token can
differ only where a draw falls within about 1e-6 of the border of two tokens.)

Costs, for responses of lengths `L` and `R` rows: `max_i L_i - 1` model steps with
`R = N`, else the makespan of list scheduling.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ttc.models.base import LanguageModel
from ttc.sampling import logits as logits_lib
from ttc.sampling.controllers import Controller, Queue, force
from ttc.sampling.draw import draw, log_prob_of
from ttc.sampling.logits import Preset, SamplingParams
from ttc.sampling.state import DecodeState, prefill
from ttc.sampling.stopping import (
  Policy,
  Progress,
  StopRules,
  ends_with,
  wait_for_all,
)
from ttc.types import FinishReason, Generation, Params, Prompt


class Counters(NamedTuple):
  """What a call of `sample` did, exactly."""

  steps: Int[Array, '']  # rounds of drawing; the model ran one time less
  row_steps: Int[Array, '']  # rows that the model ran on, idle ones included
  tokens: Int[Array, '']  # written to responses


class SampleOutput(NamedTuple):
  """Responses, the state after them, and counters."""

  generation: Generation
  state: DecodeState  # to go on from; with refill, of each row's last response
  counters: Counters


class _Loop(NamedTuple):
  """The carry of the loop. Rows write responses; `job` says which."""

  suffix: Any
  tokens: Int[Array, 'B R S']
  lengths: Int[Array, 'B R']
  start: Int[Array, 'B R']  # length at which the row's response begins
  job: Int[Array, 'B R']  # the response it writes; N if it is idle
  next_job: Int[Array, ' B']
  memory: Any  # of the controller, leaves [B, R]
  queue: Queue
  out: Generation
  steps: Int[Array, '']


def sample(
  model: LanguageModel,
  params: Params,
  keys: PRNGKeyArray,
  state: DecodeState,
  stop: StopRules,
  num_samples: int | None = None,
  *,
  sampling: SamplingParams = SamplingParams(),  # noqa: B008
  preset: Preset = 'hf',
  max_new_tokens: Int[Array, '*A'] | int | None = None,
  active: Bool[Array, 'B N'] | None = None,
  sample_ids: Int[Array, 'B N'] | None = None,
  policy: Policy = wait_for_all,
  controller: Controller | None = None,
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
    sampling: temperature and filters; fields broadcast to `[B, N]`.
    preset: order of the filters; static.
    max_new_tokens: limit of each response, broadcasts to `[B, N]`; at most the
      room in the state.
    active: responses to draw; the others are returned empty and cancelled.
    sample_ids: what identifies each response of a problem, by default
      `0..N-1`. Two calls with other ids draw other responses.
    policy: when to end a problem early; static.
    controller: forces templates into responses; its functions are static.

  Returns:
    A `SampleOutput`. `generation` holds what this call wrote; its `T` is the
    capacity of the state.
  """
  B, R, capacity = state.tokens.shape
  N = R if num_samples is None else num_samples
  if N < R:
    raise ValueError(f'num_samples={N} is less than the {R} rows of the state')
  spread = lambda x: jnp.broadcast_to(jnp.asarray(x), (B, N))
  sampling = SamplingParams(*map(spread, sampling))
  limits = spread(capacity if max_new_tokens is None else max_new_tokens)
  ids = spread(jnp.arange(N) if sample_ids is None else sample_ids)
  active = spread(True if active is None else active)
  filtering = jnp.any(logits_lib.is_filtering(sampling))
  b = jnp.arange(B)[:, None]
  r = jnp.arange(R)[None]
  per_row = lambda fn: jax.vmap(jax.vmap(fn))
  of_job = lambda x, job: jnp.take_along_axis(x, job, 1, mode='clip')

  def feed(loop: _Loop) -> tuple[_Loop, Float[Array, 'B R V']]:
    """Lets the model read the pending token of every row that goes on."""
    read = jnp.maximum(loop.lengths - 1, 0)
    pending = jnp.take_along_axis(loop.tokens, read[..., None], axis=2)
    reads = (loop.job < N) & (loop.lengths > 0)
    view = state._replace(suffix=loop.suffix, lengths=loop.lengths)
    features, cache = model.features(
      params, pending, reads.astype(jnp.int32), view.cache
    )
    logits = model.logits(params, features[:, :, 0])
    empty = (loop.lengths == 0)[..., None]
    logits = jnp.where(empty, state.prefix_logits[:, None], logits)
    return loop._replace(suffix=cache.suffix), logits

  def law(loop, logits, position):
    """Logits of the law that is drawn from, one row at a time."""
    if controller is not None and controller.logits is not None:
      logits = per_row(controller.logits)(loop.memory, logits, position)
    too_early = (position < stop.min_tokens)[..., None] & stop.is_stop
    logits = jnp.where(too_early, -jnp.inf, logits)
    row_sampling = SamplingParams(*(of_job(x, loop.job) for x in sampling))
    logits = per_row(logits_lib.scale)(logits, row_sampling.temperature)
    apply_filters = per_row(
      lambda row, scalars: logits_lib.filter_logits(row, scalars, preset)
    )
    logits = jax.lax.cond(
      filtering, apply_filters, lambda row, _: row, logits, row_sampling
    )
    greedy = row_sampling.temperature < logits_lib.GREEDY_TEMPERATURE
    return logits, greedy

  def write(loop: _Loop, logits, rows: Bool[Array, 'B R']) -> _Loop:
    """Draws a token for each of `rows` and moves its response on."""
    position = loop.lengths - loop.start
    row_keys = per_row(_row_key)(
      jnp.broadcast_to(keys[:, None], (B, R)),
      of_job(ids, loop.job),
      loop.lengths,
    )
    masked, greedy = law(loop, logits, position)
    token, sampling_log_prob = per_row(draw)(row_keys, masked, greedy)
    forced = jnp.zeros((B, R), bool)
    if controller is not None:
      wanted, memory = per_row(controller.update)(loop.memory, token, position)
      was_forcing = loop.queue.template >= 0
      forced = was_forcing | (wanted >= 0)
      token, queue = per_row(
        force,
      )(
        jnp.broadcast_to(
          controller.templates, (B, R, *controller.templates.shape)
        ),
        loop.queue,
        wanted,
        token,
      )
      keep = lambda new, old: jnp.where(rows, new, old)
      loop = loop._replace(
        memory=jax.tree.map(
          lambda new, old: jnp.where(rows & ~was_forcing, new, old),
          memory,
          loop.memory,
        ),
        queue=jax.tree.map(keep, queue, loop.queue),
      )
    log_prob = per_row(log_prob_of)(logits, token)
    job = jnp.where(rows, loop.job, N)  # writes to response N are dropped
    put = lambda x, value: x.at[b, job, position].set(value, mode='drop')
    index = jnp.where(rows, loop.lengths, capacity)
    tokens = loop.tokens.at[b, r, index].set(token, mode='drop')
    lengths = loop.lengths + rows
    stopped = _stops(stop, tokens, lengths, loop.start, token) & ~forced
    limited = (position + 1 >= of_job(limits, loop.job)) | (lengths >= capacity)
    reason = jnp.where(
      stopped,
      FinishReason.STOP,
      jnp.where(limited, FinishReason.LENGTH, FinishReason.RUNNING),
    )
    out = loop.out
    out = Generation(
      tokens=put(out.tokens, token),
      lengths=out.lengths.at[b, job].set(position + 1, mode='drop'),
      log_probs=put(out.log_probs, log_prob),
      sampling_log_probs=put(
        out.sampling_log_probs, jnp.where(forced, 0.0, sampling_log_prob)
      ),
      finish_reasons=out.finish_reasons.at[b, job].set(reason, mode='drop'),
    )
    loop = loop._replace(
      tokens=tokens, lengths=lengths, out=out, steps=loop.steps + 1
    )
    return cancel(refill(loop, rows & (stopped | limited)))

  def refill(loop: _Loop, finished: Bool[Array, 'B R']) -> _Loop:
    """Gives the place of finished rows to the responses that wait."""
    rank = jnp.cumsum(finished, axis=1) - 1
    # The response at this rank among those that wait; N if there is none.
    following = _nth_waiting(active, loop.next_job, rank)
    job = jnp.where(finished, following, loop.job)
    fresh = finished & (following < N)
    last = jnp.max(jnp.where(fresh, following, -1), axis=1)
    loop = loop._replace(
      job=job,
      next_job=jnp.maximum(loop.next_job, last + 1),
      lengths=jnp.where(fresh, 0, loop.lengths),
      start=jnp.where(fresh, 0, loop.start),
    )
    if controller is None:
      return loop
    reset = lambda initial, old: jnp.where(fresh, initial, old)
    return loop._replace(
      memory=jax.tree.map(reset, controller.init(), loop.memory),
      queue=loop.queue._replace(template=reset(-1, loop.queue.template)),
    )

  def cancel(loop: _Loop) -> _Loop:
    """Asks the policy, and ends the problems that have enough."""
    out = loop.out
    progress = Progress(out.tokens, out.lengths, out.finish_reasons)
    enough = jax.vmap(policy)(progress)[:, None]
    running = out.finish_reasons == FinishReason.RUNNING
    reasons = jnp.where(
      enough & running, FinishReason.CANCELLED, out.finish_reasons
    )
    return loop._replace(
      job=jnp.where(enough, N, loop.job),
      next_job=jnp.where(enough[:, 0], N, loop.next_job),
      out=out._replace(finish_reasons=reasons),
    )

  def step(loop: _Loop) -> _Loop:
    loop, logits = feed(loop)
    return write(loop, logits, loop.job < N)

  first = _nth_waiting(
    active, jnp.zeros((B,), jnp.int32), jnp.broadcast_to(r, (B, R))
  )
  if N == R:  # a row may hold a begun response: response i belongs to row i
    first = jnp.where(active, r, N)
  queue = Queue(jnp.full((B, R), -1), jnp.zeros((B, R), jnp.int32))
  initial = () if controller is None else controller.init()
  loop = _Loop(
    suffix=state.suffix,
    tokens=state.tokens,
    lengths=state.lengths,
    start=state.lengths,
    job=first,
    next_job=jnp.max(jnp.where(first < N, first + 1, 0), axis=1),
    memory=jax.tree.map(
      lambda x: jnp.broadcast_to(jnp.asarray(x), (B, R)), initial
    ),
    queue=queue,
    out=_empty_generation(active, capacity),
    steps=jnp.int32(0),
  )
  # Empty rows draw their first token from the prompt's logits: no model step.
  empty = (loop.job < N) & (loop.lengths == 0)
  from_prompt = jnp.broadcast_to(
    state.prefix_logits[:, None], (B, R, model.vocab_size)
  )
  loop = write(loop, from_prompt, empty)
  loop = jax.lax.while_loop(lambda loop: jnp.any(loop.job < N), step, loop)
  return SampleOutput(
    loop.out,
    state._replace(
      suffix=loop.suffix, tokens=loop.tokens, lengths=loop.lengths
    ),
    Counters(
      steps=loop.steps,
      row_steps=(loop.steps - 1) * B * R,
      tokens=jnp.sum(loop.out.lengths),
    ),
  )


def generate(
  model: LanguageModel,
  params: Params,
  keys: PRNGKeyArray,
  prompt: Prompt,
  num_samples: int,
  capacity: int,
  stop: StopRules,
  *,
  num_rows: int | None = None,
  **options: Any,
) -> Generation:
  """Prefills and samples: `N` responses to each of `B` prompts.

  Args:
    model: static.
    params: its parameters.
    keys: `[B]`, one per problem.
    prompt: the prompts.
    num_samples: `N`; static.
    capacity: most tokens in a response; static.
    stop: what ends a response.
    num_rows: decode this many at a time; None for all `N`. Static.
    **options: keyword arguments of `sample`.

  Returns:
    The responses.
  """
  rows = num_samples if num_rows is None else min(num_rows, num_samples)
  state = prefill(model, params, prompt, rows, capacity)
  output = sample(model, params, keys, state, stop, num_samples, **options)
  return output.generation


def _row_key(key, sample_id, position):
  return jax.random.fold_in(jax.random.fold_in(key, sample_id), position)


def _stops(
  stop: StopRules, tokens, lengths, start, token
) -> Bool[Array, 'B R']:
  """Whether the last token of each row ends its response."""
  stopped = stop.is_stop[token]
  num_sequences, width = stop.sequences.shape
  if not num_sequences:
    return stopped
  index = lengths[..., None] - width + jnp.arange(width)
  window = jnp.take_along_axis(tokens, jnp.maximum(index, 0), axis=2)
  window = jnp.where(index >= start[..., None], window, -2)  # matches nothing
  match = jax.vmap(jax.vmap(lambda row: ends_with(row, stop.sequences)))
  return stopped | match(window)


def _nth_waiting(
  active: Bool[Array, 'B N'], begin: Int[Array, ' B'], rank: Int[Array, 'B R']
) -> Int[Array, 'B R']:
  """Index of the `rank`-th active response from `begin` on; N if none."""
  N = active.shape[1]
  waiting = active & (jnp.arange(N) >= begin[:, None])
  order = jnp.argsort(~waiting, axis=1, stable=True)
  index = jnp.take_along_axis(order, jnp.clip(rank, 0, N - 1), axis=1)
  exists = (rank >= 0) & (rank < jnp.sum(waiting, axis=1, keepdims=True))
  return jnp.where(exists, index, N)


def _empty_generation(active: Bool[Array, 'B N'], capacity: int) -> Generation:
  B, N = active.shape
  zeros = jnp.zeros((B, N, capacity), jnp.float32)
  return Generation(
    tokens=jnp.zeros((B, N, capacity), jnp.int32),
    lengths=jnp.zeros((B, N), jnp.int32),
    log_probs=zeros,
    sampling_log_probs=zeros,
    finish_reasons=jnp.where(
      active, FinishReason.RUNNING, FinishReason.CANCELLED
    ).astype(jnp.int32),
  )
