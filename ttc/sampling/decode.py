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
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, Key

from ttc.models.base import LanguageModel
from ttc.models.experts import RouteOverride
from ttc.models.routing import check_routes
from ttc.models.sharding import on_auto_axes
from ttc.sampling import loop as loops
from ttc.sampling.controllers import Controller
from ttc.sampling.logits import (
  SamplingParams,
  check_sampling_params,
  without_idle_filters,
)
from ttc.sampling.state import DecodeState, has_rows
from ttc.sampling.stopping import Policy, StopRules, wait_for_all
from ttc.types import Generation, Params


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
  stop_states: Int[Array, '*A'] | None = None,
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
    stop_states: of the stop rules, where rows are continued, broadcasts to
      `[B, N]`; see `stopping.read_tokens`. None for a response that begins.
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
    without_idle_filters(sampling),
    max_new_tokens,
    active,
    sample_ids,
    stop_states,
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
  stop_states: Array | None,
) -> SampleOutput:
  """`sample`, compiled once for all calls of one kind."""
  model, N, policy, controller = static
  if controller is not None:
    controller = controller._replace(templates=templates)
  B, R, _ = state.tokens.shape
  jobs = loops.make_jobs(
    model,
    keys,
    state,
    N,
    sampling,
    max_new_tokens,
    active,
    sample_ids,
    stop_states,
  )
  plan = loops.Plan(model, params, stop, policy, controller, jobs)
  loop = loops.start(plan)
  # Empty rows draw their first token from the prompt's logits: no model step.
  shape = (B, R, model.vocab_size)
  from_prompt = jnp.broadcast_to(state.prefix_logits[:, None], shape)
  empty = loops.is_busy(loop) & (loop.lengths == 0)
  loop = loops.write(plan, loop, from_prompt, empty)
  loop = jax.lax.while_loop(
    lambda loop: jnp.any(loops.is_busy(loop)),
    functools.partial(loops.step, plan),
    loop,
  )
  counters = Counters(
    steps=loop.steps,
    row_steps=(loop.steps - 1) * B * R,
    tokens=jnp.sum(loop.out.lengths),
    soft_entries=jnp.int32(0) if state.soft is None else state.soft.num_entries,
  )
  return SampleOutput(loop.out, loop.resume(state), counters)
