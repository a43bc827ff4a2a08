"""Steering a response while it is decoded, by forcing tokens into it.

A controller watches one response. At each position it sees the token that was
drawn and may have a template written instead: a "Wait", an end-of-thinking
delimiter, the opening of an answer. The rest of the template is queued and
forced at the next positions. Forced tokens enter the model's context and count
as tokens; they never stop a response, and their sampling log-probability is 0.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

Memory = Any  # a pytree of scalars, the controller's own


class Controller(NamedTuple):
  """Pure functions over ONE response; the sampler maps them over all.

  Attributes:
    init: `() -> memory` at the start of a response.
    update: `(memory, token, position) -> (template, memory)` for a token drawn
      at `position` (0 is the first of the response). A `template >= 0` replaces
      the token by that template; -1 lets it pass. Not called while forcing.
    templates: the token sequences, padded right with -1.
    logits: optional `(memory, logits [V], position) -> logits [V]`, applied to
      the raw logits before temperature and filters.
  """

  init: Callable[[], Memory]
  update: Callable[
    [Memory, Int[Array, ''], Int[Array, '']], tuple[Int[Array, ''], Memory]
  ]
  templates: Int[Array, 'M F']
  logits: Callable | None = None


def stack_templates(templates: Sequence[Sequence[int]]) -> Int[Array, 'M F']:
  """Token sequences of different lengths as one array, padded with -1."""
  if not templates or not all(len(template) for template in templates):
    raise ValueError('a controller needs templates of at least one token each')
  width = max(len(template) for template in templates)
  table = np.full((len(templates), width), -1, np.int32)
  for row, template in zip(table, templates, strict=True):
    row[: len(template)] = template
  return jnp.asarray(table)


class Queue(NamedTuple):
  """The template being forced, and how far it is; template -1 is none."""

  template: Int[Array, '*A']
  offset: Int[Array, '*A']


def force(
  templates: Int[Array, 'M F'],
  queue: Queue,
  wanted: Int[Array, ''],
  token: Int[Array, ''],
) -> tuple[Int[Array, ''], Queue]:
  """The token to write at this position, and the queue after it.

  Args:
    templates: the controller's.
    queue: what is being forced.
    wanted: the template that the controller asks for, or -1; ignored while one
      is being forced.
    token: the one that was drawn.

  Returns:
    The forced token if there is one, else `token`; and the new queue.
  """
  forcing = queue.template >= 0
  template = jnp.where(forcing, queue.template, wanted)
  offset = jnp.where(forcing, queue.offset, 0)
  row = templates[jnp.maximum(template, 0)]
  token = jnp.where(template >= 0, row[offset], token)
  rest = jnp.concatenate([row, jnp.full((1,), -1, row.dtype)])[offset + 1]
  template = jnp.where((template >= 0) & (rest >= 0), template, -1)
  return token, Queue(template, offset + 1)
