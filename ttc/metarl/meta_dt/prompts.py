"""Which steps of a history make a prompt (2410.11448, section 4.3).

What the world model predicts badly from the code of a task is what the code
does not say, so that is what a prompt should tell. The paper takes the segment
with the largest total error; the authors' program draws one with probability in
proportion to it. Segments are as long as the prompt, in training as in tests
(the program sums errors over segments of a whole episode in its tests), and
begin where the world model has read as many steps as it can.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ttc.metarl.meta_dt.data import Trajectories, returns_to_go
from ttc.metarl.meta_dt.decision_transformer import Steps

PROMPT_KINDS = ('argmax', 'sample')


def window_errors(
  errors: Float[Array, '*H T'],
  mask: Bool[Array, '*H T'],
  length: int,
  first: int = 0,
) -> Float[Array, '*H W']:
  """Total error of every segment.

  Args:
    errors: of the steps.
    mask: which of them are real.
    length: of a segment.
    first: where the first one begins.

  Returns:
    That of the segment that begins at `first + w`; -inf where not all of its
    steps are real.

  Raises:
    ValueError: if an episode has no such segment.
  """
  T = errors.shape[-1]
  if not 0 <= first <= T - length or length < 1:
    raise ValueError(
      f'window_errors: prompt_length={length} from step {first} on, expected '
      f'it within an episode of {T} steps'
    )
  starts = first + jnp.arange(T - length - first + 1)
  index = starts[:, None] + jnp.arange(length)
  total = jnp.sum(errors[..., index], axis=-1)
  return jnp.where(jnp.all(mask[..., index], axis=-1), total, -jnp.inf)


def choose_window(
  kind: str, key: PRNGKeyArray, totals: Float[Array, 'H W']
) -> tuple[Int[Array, ''], Int[Array, '']]:
  """Trajectory and window of a prompt.

  Args:
    kind: `'argmax'`, the largest total, the first of equal ones, or
      `'sample'`, drawn in proportion to it.
    key: consumed.
    totals: of all windows of a history.

  Raises:
    ValueError: on another kind.
  """
  if kind not in PROMPT_KINDS:
    raise ValueError(
      f'choose_window: prompt={kind!r}, expected one of '
      f'{", ".join(PROMPT_KINDS)}'
    )
  flat = totals.reshape(-1)
  if kind == 'argmax':
    choice = jnp.argmax(flat)
  else:
    least = jnp.finfo(jnp.float32).tiny  # no errors at all: any window
    logits = jnp.where(flat < 0, -jnp.inf, jnp.log(jnp.maximum(flat, least)))
    choice = jax.random.categorical(key, logits)
  trajectory, window = jnp.divmod(choice, totals.shape[1])
  return trajectory.astype(jnp.int32), window.astype(jnp.int32)


def make_prompt(
  kind: str,
  key: PRNGKeyArray,
  history: Trajectories,
  errors: Float[Array, 'H T'],
  length: int,
  first: int,
  return_scale: float,
) -> Steps:
  """The prompt that a history gives.

  Args:
    kind: of the choice.
    key: consumed.
    history: leaves `[H, T, ...]`, states measured by their scale.
    errors: of the world model.
    length: `P`.
    first: step that a prompt may begin with.
    return_scale: that returns are divided by.

  Returns:
    `[P]` steps, without codes.
  """
  totals = window_errors(errors, history.mask, length, first)
  trajectory, window = choose_window(kind, key, totals)
  start = first + window
  to_go = returns_to_go(history) / return_scale
  part = lambda x: jax.lax.dynamic_slice_in_dim(x[trajectory], start, length)
  return Steps(
    part(to_go),
    part(history.state),
    jnp.zeros((length, 0), jnp.float32),
    part(history.action),
    start + jnp.arange(length, dtype=jnp.int32),
    part(history.mask),
  )
