"""The few words that every part of ttc shares.

Axes: `B` problems, `N` samples of a problem, `T` tokens, `V` vocabulary,
`D` model width, `H` query heads, `K` key/value heads.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Array, Bool, Float, Int

AnyArray: TypeAlias = Array | np.ndarray  # of JAX or of numpy
AnyNumber: TypeAlias = AnyArray | np.number  # without axes
Params: TypeAlias = Any  # a pytree of arrays
Cache: TypeAlias = Any  # a pytree of arrays


class Prompt(NamedTuple):
  """Token prompts of `B` problems, padded on the right."""

  tokens: Int[Array, 'B T']
  lengths: Int[Array, ' B']


class Generation(NamedTuple):
  """`N` sampled responses for each of `B` prompts.

  Positions at and beyond `lengths` hold token 0 and log-probability 0. The stop
  token, if one was drawn, is part of the response and counted in its length.
  """

  tokens: Int[Array, 'B N T']
  lengths: Int[Array, 'B N']
  log_probs: Float[Array, 'B N T']  # under the model: untempered, unfiltered
  sampling_log_probs: Float[Array, 'B N T']  # under the law that was drawn from
  finish_reasons: Int[Array, 'B N']  # a `FinishReason`


class FinishReason:
  """Why a response ended; the values of `Generation.finish_reasons`."""

  RUNNING = 0  # not ended (only inside a decode loop)
  STOP = 1  # drew a stop token or completed a stop sequence or text
  LENGTH = 2  # reached its token limit, or had no room for a token
  CANCELLED = 3  # the policy ended it, or never started it
  INVALID = 4  # nothing to draw from: logits NaN, infinite, or all masked
  NAMES = ('running', 'stop', 'length', 'cancelled', 'invalid')


# Higher is better; `[B, N]` from prompts and what was generated for them.
ScoreFn: TypeAlias = Callable[[Prompt, Generation], Float[Array, 'B N']]
# The id of the answer that a response gives, -1 where it gives none.
AnswerFn: TypeAlias = Callable[[Prompt, Generation], Int[Array, 'B N']]
# `(params, keys [B], prompt, num_samples, *, policy=, controller=) ->
# Generation`; see `ttc.sampling.generate`.
SampleFn: TypeAlias = Callable[..., Generation]


class Samples(NamedTuple):
  """`N` responses to one problem, as a selection method sees them."""

  answers: Int[Array, ' N']  # the id of the answer, -1 where there is none
  scores: Float[Array, ' N']  # what the verifier said, higher is better
  log_probs: Float[Array, ' N']  # summed over the response's tokens
  lengths: Int[Array, ' N']  # tokens, the stop token included
  finished: Bool[Array, ' N']  # ended by itself, not by a limit


class Leaves(NamedTuple):
  """What a search wrote on the way to an answer: `K` responses or beginnings.

  Nodes are steps, numbered within a problem; two leaves that begin with the
  same step share its number. Without steps a response is one node.
  """

  tokens: Int[Array, '*B K T']
  lengths: Int[Array, '*B K']
  log_probs: Float[Array, '*B K']  # summed over the response's tokens
  finish_reasons: Int[Array, '*B K']  # CANCELLED for what is none
  parents: Int[
    Array, '*B K'
  ]  # the node that it went on from, -1 for the prompt
  nodes: Int[Array, '*B K S']  # its steps, -1 where there is none
  scores: Float[
    Array, '*B K S'
  ]  # what the verifier said of each; 0 if not asked
  ends: Int[Array, '*B K S']  # tokens of the response up to each step


class Selection(NamedTuple):
  """The answer a method settles on, and what it cost."""

  answer: Int[Array, '']  # -1 where the method gives none
  tokens: Int[Array, '']  # generated in total
  depth: Int[Array, '']  # generated one after another
  verifier_calls: Int[Array, ''] | int = 0  # responses or prefixes it read
  nan_scores: Int[Array, ''] | int = 0  # of them NaN: such a score never wins
  leaves: Leaves | None = (
    None  # of a method that was run, not only told samples
  )


# `(samples, n)`: may look at the first `n` samples only; `n` is traced.
SelectFn: TypeAlias = Callable[[Samples, Int[Array, '']], Selection]
