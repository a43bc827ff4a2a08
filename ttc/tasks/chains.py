r"""Chains: one state, changed step by step, the running state written down.

The common part of the word problem of a group, modular arithmetic and pointer
chasing. A problem is a start value and `L` maps of the `Q` values to
themselves; the trace writes the value after every `stride`-th map, then EOS;
the last written value is the answer. So every token of a trace can be checked.

**Calibrated noise.** With `noise` > 0 the trace to be learned replaces each
written value, with that probability, by a uniformly random OTHER value and goes
on from there. A model that has learned such traces and samples at temperature 1
is right with a probability known in closed form, `noisy_chain_accuracy`: a base
policy whose test-time scaling is known before it is measured.

Axes besides those of `token_task`: `L` maps, `M` written values, `Q` values.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray

from ttc.tasks import token_task


class Chain(NamedTuple):
  """What a family of chains draws from a key."""

  prompt: Int[Array, ' Tp']
  prompt_length: Int[Array, '']
  start: Int[Array, '']  # the value before the first map
  maps: Int[Array, 'L Q']  # map t takes value v to maps[t, v]
  num_maps: Int[Array, '']  # at most L; the maps from here on are not used


class ChainData(NamedTuple):
  """What the verifier of a chain keeps."""

  start: Int[Array, '']
  steps: Int[Array, 'M Q']  # from one written value to the next
  values: Int[Array, ' M']  # the true values
  num_steps: Int[Array, '']  # how many of them are written


def chain_task(
  name: str,
  value_words: tuple[str, ...],
  other_words: tuple[str, ...],
  draw: Callable[[PRNGKeyArray], Chain],
  *,
  stride: int = 1,
  noise: float = 0.0,
) -> token_task.TokenTask:
  """Makes the token task of a family of chains.

  Args:
    name: of the task.
    value_words: the `Q` values as text; value v is token `FIRST_ID + v`.
    other_words: what else the prompts need; tokens from `FIRST_ID + Q` on.
    draw: `key -> Chain`; the key is consumed.
    stride: how many maps lie between two written values. The last value is
      always written. Larger strides are harder to learn.
    noise: chance that a value written in the trace is replaced, see above.

  Returns:
    A task. Its outcome reward looks at the last value only, so a response may
    skip steps; its process rewards compare each token with the true trace.
  """
  num_values = len(value_words)
  drawn = jax.eval_shape(lambda: draw(jax.random.key(0)))
  num_written = -(-drawn.maps.shape[0] // stride)

  def generate(key: PRNGKeyArray) -> token_task.Problem:
    return _generate(draw, key, num_written, num_values, stride, noise)

  def answer(
    problem: token_task.Problem,
    response: Int[Array, ' T'],
    length: Int[Array, ''],
  ) -> Int[Array, '']:
    del problem
    return token_task.last_value(response, length, num_values)

  def process_rewards(
    problem: token_task.Problem,
    response: Int[Array, ' T'],
    length: Int[Array, ''],
  ) -> Array:
    values = problem.data.values
    return _compare(problem.data, values, response, length)

  def consistency_rewards(
    problem: token_task.Problem,
    response: Int[Array, ' T'],
    length: Int[Array, ''],
  ) -> Array:
    data = problem.data
    value = response - token_task.FIRST_ID
    value = jnp.where((value >= 0) & (value < num_values), value, -1)
    before = jnp.append(data.start, token_task.fit(value, num_written - 1, -1))
    # From a token that is no value, no step can follow.
    after = jnp.take_along_axis(data.steps, before[:, None], axis=1)[:, 0]
    after = jnp.where(before < 0, -1 - token_task.FIRST_ID, after)
    return _compare(data, after, response, length)

  return token_task.TokenTask(
    name=name,
    words=(*token_task.SPECIAL_WORDS, *value_words, *other_words),
    prompt_length=drawn.prompt.shape[0],
    response_length=num_written + 1,
    generate=generate,
    answer=answer,
    process_rewards=process_rewards,
    consistency_rewards=consistency_rewards,
  )


def noisy_chain_accuracy(noise: Any, num_steps: Any, num_values: Any) -> Any:
  r"""Returns how often a chain with calibrated noise ends at the true value.

  .. math:: p = \frac1Q + \Bigl(1 - \frac1Q\Bigr) \lambda^M, \qquad
     \lambda = 1 - \varepsilon \frac{Q}{Q - 1}

  Exact if every step is a bijection of the `Q` values; each of the wrong values
  then has probability :math:`(1 - p) / (Q - 1)`. Numbers or arrays.

  Args:
    noise: chance that a written value is replaced, epsilon.
    num_steps: how many values are written, `M`.
    num_values: `Q`; the order of the group.
  """
  decay = 1 - noise * num_values / (num_values - 1)
  return 1 / num_values + (1 - 1 / num_values) * decay**num_steps


def noise_for_accuracy(accuracy: Any, num_steps: Any, num_values: Any) -> Any:
  """Inverts `noisy_chain_accuracy`, for accuracies in [1 / num_values, 1]."""
  excess = (accuracy - 1 / num_values) / (1 - 1 / num_values)
  return (1 - excess ** (1 / num_steps)) * (num_values - 1) / num_values


def _generate(
  draw: Callable[[PRNGKeyArray], Chain],
  key: PRNGKeyArray,
  num_written: int,
  num_values: int,
  stride: int,
  noise: float,
) -> token_task.Problem:
  """A chain, its true values, and a trace with errors."""
  draw_key, where_key, what_key = jax.random.split(key, 3)
  chain = jax.tree.map(lambda x: x.astype(jnp.int32), draw(draw_key))
  steps = _compose(chain.maps, chain.num_maps, stride)
  num_steps = -(-chain.num_maps // stride)
  values = _run(chain.start, steps, jnp.zeros((num_written,), jnp.int32))
  errors = jnp.where(
    jax.random.bernoulli(where_key, noise, (num_written,)),
    jax.random.randint(what_key, (num_written,), 1, num_values, jnp.int32),
    0,
  )
  written = _run(chain.start, steps, errors)
  return token_task.Problem(
    prompt=chain.prompt,
    prompt_length=chain.prompt_length,
    trace=token_task.close(
      token_task.FIRST_ID + written, num_steps, token_task.EOS_ID
    ),
    trace_length=num_steps + 1,
    answer=values[num_steps - 1],
    data=ChainData(chain.start, steps, values, num_steps),
  )


def _run(
  start: Int[Array, ''], steps: Int[Array, 'M Q'], errors: Int[Array, ' M']
) -> Int[Array, ' M']:
  """Runs a chain; after each step the value moves on by the error, mod Q."""

  def step(value, inputs):
    table, error = inputs
    value = (table[value] + error) % table.size
    return value, value

  return jax.lax.scan(step, start, (steps, errors))[1]


def _compose(
  maps: Int[Array, 'L Q'], num_maps: Int[Array, ''], stride: int
) -> Int[Array, 'M Q']:
  """Joins each `stride` consecutive maps into one."""
  length, num_values = maps.shape
  identity = jnp.arange(num_values, dtype=jnp.int32)
  maps = jnp.where(jnp.arange(length)[:, None] < num_maps, maps, identity)
  padding = jnp.broadcast_to(identity, (-length % stride, num_values))
  maps = jnp.concatenate([maps, padding]).reshape(-1, stride, num_values)
  return functools.reduce(
    lambda first, then: jnp.take_along_axis(then, first, axis=-1),
    [maps[:, i] for i in range(stride)],
  )


def _compare(data, values, response, length):
  """Marks the tokens that equal the expected values, and EOS in its place."""
  expected = token_task.close(
    token_task.FIRST_ID + values, data.num_steps, token_task.EOS_ID
  )
  expected = token_task.fit(expected, response.size, token_task.PAD_ID)
  is_step = jnp.arange(response.size) <= data.num_steps
  right = (response == expected) & is_step
  right &= token_task.is_written(response, length)
  return right.astype(jnp.float32)
