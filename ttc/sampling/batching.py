"""Many problems through few compiled programs: continuous batching.

A fixed number of slots decode together, each one problem with a few rows that
draw its samples one after another. A slot whose problem is finished takes up
the next prompt at once, without waiting for the others; what it drew is handed
out while the others go on. Prompts are padded to powers of two, so a thousand
prompts of 20 to 400 tokens compile a handful of programs. Since a sample does
not depend on its slot, neither the number of slots nor the order changes one.

Costs as many model steps of `slots x rows` tokens as list scheduling of the
problems onto the slots takes, and each prompt once; what many begin with, once
for all.
"""

import collections
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, PRNGKeyArray

from ttc.models.base import Front, LanguageModel, read_front
from ttc.models.sharding import cache_shardings, on_auto_axes
from ttc.sampling import loop as loops
from ttc.sampling.controllers import Controller
from ttc.sampling.logits import (
  SamplingParams,
  check_sampling_params,
  without_idle_filters,
)
from ttc.sampling.state import prefill
from ttc.sampling.stopping import Policy, StopRules, wait_for_all
from ttc.types import Generation, Params, Prompt

Item = TypeVar('Item')
_WHOLE = 128  # tokens; whole tiles of a kernel behind which prompts go on


class Request(NamedTuple):
  """A prompt and which of its samples are wanted.

  Attributes:
    tokens: of the prompt.
    key: of the problem; each sample's is derived from it and from its id.
    sample_ids: of the samples that are wanted.
    max_new_tokens: limit of each of them; None for the capacity.
  """

  tokens: Sequence[int]
  key: PRNGKeyArray
  sample_ids: Sequence[int]
  max_new_tokens: Sequence[int] | None = None


class Decoded(NamedTuple):
  """A problem whose samples are drawn.

  Attributes:
    problem_index: into the list of problems.
    generation: NumPy arrays `[len(sample_ids), ...]`, in their order.
    row_steps: rows that the model has run on so far, idle ones included; those
      of prompts are not counted.
  """

  problem_index: int
  generation: Generation
  row_steps: int


def share(
  items: Sequence[Item], process_index: int, process_count: int
) -> list[Item]:
  """What one of several processes takes of a list: every so many-th item.

  Args:
    items: in the same order in every process.
    process_index: of this process.
    process_count: how many share the list.

  Returns:
    The items `process_index`, `process_index + process_count`, ...
  """
  return list(items[process_index::process_count])


def plan_streams(
  lengths: Sequence[int], num_slots: int, min_length: int = 32
) -> list[tuple[int, list[int]]]:
  """Groups prompts by the width of the slots that read them.

  A slot reads as many keys of a prompt as it is wide, so short prompts are not
  read beside long ones, unless they are too few to keep all slots busy.

  Args:
    lengths: of the prompts, in tokens.
    num_slots: problems that are decoded together.
    min_length: least width.

  Returns:
    Widths, powers of two, with indices of prompts; shortest prompts first, in
    the order given within a group.
  """
  groups: dict[int, list[int]] = {}
  for index, length in enumerate(lengths):
    groups.setdefault(_padded(length, min_length), []).append(index)
  streams, few = [], []
  widest = max(groups, default=0)
  for width, indices in sorted(groups.items()):
    few = sorted(few + indices)
    if len(few) >= 4 * num_slots or width == widest:
      streams.append((width, few))
      few = []
  return streams


def decode_stream(
  params: Params,
  problems: Sequence[Request],
  *,
  model: LanguageModel,
  capacity: int,
  stop: StopRules,
  num_slots: int,
  num_rows: int | None = None,
  sampling: SamplingParams = SamplingParams(),  # noqa: B008
  policy: Policy = wait_for_all,
  controller: Controller | None = None,
  front: Sequence[int] = (),
  place: Callable = lambda arrays: arrays,
) -> Iterator[Decoded]:
  """Draws the wanted samples of every problem, whatever is finished first.

  Args:
    params: of the policy.
    problems: prompts, keys and the ids of the samples that are wanted.
    model: this and what follows, see `sample`.
    capacity: most tokens in a response.
    stop: what ends a response.
    num_slots: problems that are decoded together.
    num_rows: samples of each that are; None for all. Fewer rows and more slots
      wait less for long samples, and read more prompts in each step.
    sampling: the law of a draw.
    policy: when to end a problem early.
    controller: forces templates into responses.
    front: tokens that prompts begin with, solved examples for instance. Whole
      128s of them are read once, by a model with `join`; prompts that begin
      otherwise are read whole.
    place: puts a pytree with leading axis `B` on devices, e.g. by sharding it.

  Yields:
    The problems, each once, in the order in which they are finished.

  Raises:
    ValueError: if a prompt is empty, or too long for the model beside a
      response, its limits are not one for each sample, or there are no slots.

  Example:
    >>> table = 99 * jax.nn.one_hot(jnp.array([0, 2, 3, 0]), 4)
    >>> problems = [
    ...   sampling.Request([token], jax.random.key(0), sample_ids=[0])
    ...   for token in (1, 3)]
    >>> for done in sampling.decode_stream(
    ...   table, problems, model=models.table_model(4), capacity=4,
    ...   stop=sampling.stop_rules(4, [0]), num_slots=2):
    ...   print(done.problem_index, done.generation.tokens.tolist())
    1 [[0, 0, 0, 0]]
    0 [[2, 3, 0, 0]]
  """
  check_sampling_params(sampling)
  if num_slots < 1 or (num_rows is not None and num_rows < 1):
    raise ValueError(f'{num_slots=} and {num_rows=} must be at least 1')
  _check_requests(problems, model.max_length - capacity)
  num_samples = max([1, *(len(problem.sample_ids) for problem in problems)])
  rows = num_samples if num_rows is None else min(num_rows, num_samples)
  steering = controller and controller._replace(templates=None)
  static = _Static(model, num_samples, rows, capacity, policy, steering)
  templates = controller and controller.templates
  law = without_idle_filters(sampling)
  of_all = _Shared(params, stop, templates, law, None)
  steps = 0
  for shared, asked, group in _behind_front(model, of_all, problems, front):
    lengths = [len(asked[i].tokens) for i in group]
    for width, chosen in plan_streams(lengths, num_slots):
      indices, before = [group[i] for i in chosen], steps
      for decoded in _decode_width(
        static, shared, asked, indices, width, num_slots, place
      ):
        steps = before + decoded.row_steps
        yield decoded._replace(row_steps=steps)


def _check_requests(problems: Sequence[Request], room: int) -> None:
  """Refuses prompts and limits that do not fit."""
  for index, problem in enumerate(problems):
    length = len(problem.tokens)
    if not 0 < length <= room:
      raise ValueError(
        f'prompt {index} has {length} tokens; 1 to {room} fit with the '
        'response into the context of the model'
      )
    ids, limits = problem.sample_ids, problem.max_new_tokens
    if limits is not None and len(limits) != len(ids):
      raise ValueError(
        f'problem {index} has {len(limits)} max_new_tokens for {len(ids)} '
        'samples'
      )


class _Static(NamedTuple):
  """What the programs are made for."""

  model: LanguageModel
  num_samples: int
  num_rows: int
  capacity: int
  policy: Policy
  controller: Controller | None  # without its templates


class _Shared(NamedTuple):
  """What all problems share; arrays."""

  params: Params
  stop: StopRules
  templates: Int[Array, 'M F'] | None
  sampling: SamplingParams
  front: Front | None


class _Wanted(NamedTuple):
  """Problems as arrays, padded to the number of samples."""

  keys: PRNGKeyArray
  prompt: Prompt
  sample_ids: Int[Array, 'B N']
  limits: Int[Array, 'B N']
  active: Bool[Array, 'B N']


def _behind_front(model, shared, problems, front):
  """What to read and of which problems: behind the front, and from anew."""
  size = len(front) // _WHOLE * _WHOLE
  first = list(front[:size])
  if model.join is None or not all(0 <= x < model.vocab_size for x in first):
    size = 0
  behind = [
    index
    for index, problem in enumerate(problems)
    if 0 < size < len(problem.tokens) and [*problem.tokens[:size]] == first
  ]
  if behind:
    read = _read_front(model, shared.params, jnp.asarray(first, jnp.int32))
    asked = [p._replace(tokens=p.tokens[size:]) for p in problems]
    yield shared._replace(front=read), asked, behind
  if others := sorted({*range(len(problems))} - {*behind}):
    yield shared, problems, others


_read_front = jax.jit(on_auto_axes(read_front), static_argnums=0)


def _decode_width(static, shared, problems, indices, width, num_slots, place):
  """Slots of one width, until every problem is drawn."""
  to_arrays = functools.partial(_to_arrays, static)
  waiting = collections.deque(indices)
  held = [waiting.popleft() for _ in range(min(num_slots, len(waiting)))]
  first = place(to_arrays([problems[i] for i in held], width, num_slots))
  slots = _spread(static, _fill(static, shared, first), first)
  held += [None] * (num_slots - len(held))
  ready: list[tuple[int, Generation, int]] = []  # still on the device
  while any(index is not None for index in held):
    taken = np.array([index is not None for index in held])
    slots, idle, steps = _run(static, shared, slots, taken)
    yield from _fetch(problems, ready)  # while the others are decoded
    ready = []
    idle, steps = jax.device_get((idle, steps))
    row_steps = int(steps) * num_slots * static.num_rows
    for slot in np.flatnonzero(idle & taken).tolist():
      ready.append((held[slot], _take(slots, slot), row_steps))
      held[slot] = waiting.popleft() if waiting else None
      if held[slot] is not None:
        problem = problems[held[slot]]
        one = to_arrays([problem], _padded(len(problem.tokens)), 1)
        slots = _admit(static, shared, slots, one, slot)
  yield from _fetch(problems, ready)


def _fetch(
  problems: Sequence[Request], ready: Sequence[tuple[int, Generation, int]]
) -> Iterator[Decoded]:
  """What was taken out of slots, without the padding."""
  for index, drawn, row_steps in ready:
    wanted = len(problems[index].sample_ids)
    kept = jax.tree.map(lambda x: x[:wanted], jax.device_get(drawn))  # noqa: B023
    yield Decoded(index, kept, row_steps)


def _to_arrays(static: _Static, problems, width, num_slots) -> _Wanted:
  """What is wanted; slots beyond the problems are empty."""
  tokens = np.zeros((num_slots, width), np.int32)
  lengths = np.ones((num_slots,), np.int32)
  ids = np.zeros((num_slots, static.num_samples), np.int32)
  limits = np.full(ids.shape, static.capacity, np.int32)
  active = np.zeros(ids.shape, bool)
  for row, problem in enumerate(problems):
    tokens[row, : len(problem.tokens)] = problem.tokens
    lengths[row] = len(problem.tokens)
    ids[row, : len(problem.sample_ids)] = problem.sample_ids
    if problem.max_new_tokens is not None:
      limits[row, : len(problem.sample_ids)] = problem.max_new_tokens
    active[row, : len(problem.sample_ids)] = True
  keys = [problem.key for problem in problems]
  keys += [problems[0].key] * (num_slots - len(problems))
  return _Wanted(
    jnp.stack(keys),
    Prompt(jnp.asarray(tokens), jnp.asarray(lengths)),
    jnp.asarray(ids),
    jnp.asarray(limits),
    jnp.asarray(active),
  )


class _Slots(NamedTuple):
  """What is wanted in every slot, and how far it is."""

  jobs: loops.Jobs  # the rows of its state are those of the loop
  loop: loops.Loop


@functools.partial(jax.jit, static_argnums=0)
@on_auto_axes
def _fill(static: _Static, shared: _Shared, wanted: _Wanted) -> _Slots:
  """Reads a prompt into every slot."""
  model, num_samples, num_rows, capacity, _, _ = static
  state = prefill(
    model,
    shared.params,
    wanted.prompt,
    num_rows,
    capacity,
    front=shared.front,
  )
  jobs = loops.make_jobs(
    model,
    wanted.keys,
    state,
    num_samples,
    shared.sampling,
    max_new_tokens=wanted.limits,
    active=wanted.active,
    sample_ids=wanted.sample_ids,
  )
  loop = loops.start(_plan(static, shared, jobs))
  state = state._replace(suffix=None, tokens=None, lengths=None)
  return jax.tree.map(_strong, _Slots(jobs._replace(state=state), loop))


def _strong(x: Array) -> Array:
  """Not weakly typed: what is put into slots is not, and would recompile."""
  is_key = jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
  return x if is_key else x.astype(x.dtype)


@functools.partial(jax.jit, static_argnums=0, donate_argnums=2)
@on_auto_axes
def _admit(
  static: _Static,
  shared: _Shared,
  slots: _Slots,
  wanted: _Wanted,
  slot: Int[Array, ''] | int,
) -> _Slots:
  """Reads one prompt and puts it into a slot, whose rows begin anew."""
  one = _fill(static, shared, wanted)
  keep = lambda slots: slots._replace(
    jobs=slots.jobs._replace(state=slots.jobs.state._replace(prefix=None)),
    loop=slots.loop._replace(suffix=None, steps=None),
  )
  axis = static.model.batch_axis
  put = lambda axis: functools.partial(_put, slot=slot, axis=axis)
  prefix = jax.tree.map(
    put(axis), slots.jobs.state.prefix, one.jobs.state.prefix
  )
  new = jax.tree.map(put(0), keep(slots), keep(one))
  return _Slots(
    new.jobs._replace(state=new.jobs.state._replace(prefix=prefix)),
    # What a row wrote before is behind its length: nothing reads it.
    new.loop._replace(suffix=slots.loop.suffix, steps=slots.loop.steps),
  )


@functools.partial(jax.jit, static_argnums=0, donate_argnums=2)
@on_auto_axes
def _run(
  static: _Static, shared: _Shared, slots: _Slots, taken: Bool[Array, ' B']
) -> tuple[_Slots, Bool[Array, ' B'], Int[Array, '']]:
  """Decodes until a slot that is taken has nothing to do; says which have."""
  is_idle = lambda loop: ~jnp.any(loops.is_busy(loop), axis=1)
  step = functools.partial(loops.step, _plan(static, shared, slots.jobs))
  loop = jax.lax.while_loop(
    lambda loop: ~jnp.any(is_idle(loop) & taken), step, slots.loop
  )
  return _Slots(slots.jobs, loop), is_idle(loop), loop.steps


def _spread(static: _Static, slots: _Slots, wanted: _Wanted) -> _Slots:
  """Has the rows lie where their prompts do; no program knows while empty."""
  sharding = wanted.prompt.tokens.sharding
  if not isinstance(sharding, jax.sharding.NamedSharding):
    return slots
  suffix = slots.loop.suffix
  shardings = cache_shardings(
    suffix, sharding.mesh, batch_axis=static.model.batch_axis
  )
  loop = slots.loop._replace(suffix=jax.device_put(suffix, shardings))
  return slots._replace(loop=loop)


@jax.jit
def _take(slots: _Slots, slot: Int[Array, ''] | int) -> Generation:
  """What was drawn in a slot, `[N, ...]`."""
  return jax.tree.map(lambda x: x[slot], slots.loop.out)


def _plan(static: _Static, shared: _Shared, jobs: loops.Jobs) -> loops.Plan:
  controller = static.controller
  if controller is not None:
    controller = controller._replace(templates=shared.templates)
  return loops.Plan(
    static.model, shared.params, shared.stop, static.policy, controller, jobs
  )


def _put(
  all_slots: Any, one: Any, slot: Int[Array, ''] | int, axis: int
) -> Any:
  """Writes one slot, of which `one` may be only the beginning."""
  begin = [0] * all_slots.ndim
  begin[axis] = slot
  return jax.lax.dynamic_update_slice(all_slots, one, begin)


def _padded(length: int, min_length: int = 32) -> int:
  """The next power of two."""
  return max(min_length, 1 << (length - 1).bit_length())
