"""Questions that fall into subquestions: a directed acyclic graph.

What methods that take questions apart have in common: which subquestions can be
answered now, how many rounds of answering there are, and the functions by which
a kind of question is taken apart and put together again. A graph is a Boolean
matrix of fixed size, so one compiled program serves all graphs of that size.

Axes besides `B`: `Q` places for subquestions.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

Questions = Any  # a pytree with leaves `[B, ...]`, such as a `Prompt`


class QuestionGraph(NamedTuple):
  """The subquestions of `B` questions, and what they need to be answered."""

  depends: Bool[Array, '*B Q Q']  # row needs the answer of column
  is_open: Bool[Array, '*B Q']  # asked and not answered; other places are empty


class Atoms(NamedTuple):
  """How questions of a kind are taken apart and put together; pure functions.

  Attributes:
    decompose: `question -> QuestionGraph`.
    subquestions: `question -> questions`, leaves `[B, Q, ...]`: each
      subquestion by itself. Only those that need no others are looked at.
    contract: `(question, mask [B, Q], answers [B, Q]) -> question`: a question
      with the same answer that takes the masked answers as known and does not
      ask for them.
  """

  decompose: Callable[[Questions], QuestionGraph]
  subquestions: Callable[[Questions], Questions]
  contract: Callable[
    [Questions, Bool[Array, 'B Q'], Int[Array, 'B Q']], Questions
  ]


def is_independent(graph: QuestionGraph) -> Bool[Array, '*B Q']:
  """The open subquestions that need no open one."""
  needs = graph.depends & graph.is_open[..., None, :]
  return graph.is_open & ~jnp.any(needs, axis=-1)


def is_needed(graph: QuestionGraph) -> Bool[Array, '*B Q']:
  """The open subquestions that an open one needs: all but the question."""
  needs = graph.depends & graph.is_open[..., :, None]
  return graph.is_open & jnp.any(needs, axis=-2)


def graph_depth(graph: QuestionGraph) -> Int[Array, '*B']:
  """Steps on the longest path, 0 if none needs another, -1 for a circle.

  After `d` rounds of answering all that is independent, a question of depth `d`
  is left with what needs no other answer. (The public code of Atom of Thoughts
  takes the longest of the shortest paths, which may end too early.)
  """

  def peel(carry):
    is_open, rounds = carry
    ready = is_independent(graph._replace(is_open=is_open))
    return is_open & ~ready, rounds + jnp.any(ready, axis=-1)

  is_left = lambda carry: jnp.any(
    is_independent(graph._replace(is_open=carry[0]))
  )
  rounds = jnp.zeros(graph.is_open.shape[:-1], jnp.int32)
  left, rounds = jax.lax.while_loop(is_left, peel, (graph.is_open, rounds))
  has_circle = jnp.any(left, axis=-1)
  return jnp.where(has_circle, -1, jnp.maximum(rounds - 1, 0))
