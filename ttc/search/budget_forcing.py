"""Budget forcing: end the thinking of a model at a budget, or prolong it.

Muennighoff et al., "s1: simple test-time scaling", 2501.19393; m1, 2504.00869.
Two interventions on one response: at the budget the end-of-thinking delimiter
is forced and the answer decoded; and when the model would end its thinking
early, the delimiter is dropped and "Wait" written in its place, up to a number
of times. Costs at most `budget + T_answer` tokens in sequence.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from ttc.sampling.controllers import Controller, stack_templates
from ttc.search.base import Method

_WAIT, _CUT, _END = 0, 1, 2  # templates


class _Memory(NamedTuple):
  thinking: Bool[Array, '']
  num_waits: Int[Array, '']


def budget_forcing(
  end_id: int,
  *,
  end: Sequence[int],
  cut: Sequence[int],
  wait: Sequence[int],
  budget: int | Int[Array, ''],
  num_waits: int | Int[Array, ''] = 0,
) -> Controller:
  """A controller that forces a response to think for a given budget.

  Args:
    end_id: the token by which the model proposes to end its thinking.
    end: written when it does so and is let; `[end_id]` if nothing is added.
    cut: written at the budget; s1 adds "Final Answer:" to `end` here.
    wait: written in place of a dropped end.
    budget: thinking tokens, "Wait"s included, delimiters not. Traced.
    num_waits: how many ends to drop, while budget is left. Traced.

  Returns:
    A controller. Forced tokens are in the context and in the count of tokens,
    and not in the sampling log-probability.
  """

  def init():
    return _Memory(jnp.bool_(True), jnp.int32(0))

  def update(memory, token, position):
    over = position >= budget
    ends = token == end_id
    room = position + len(wait) <= budget
    waits = ends & ~over & (memory.num_waits < num_waits) & room
    template = jnp.where(
      over, _CUT, jnp.where(waits, _WAIT, jnp.where(ends, _END, -1))
    )
    template = jnp.where(memory.thinking, template, -1)
    closes = (template == _CUT) | (template == _END)
    return template, _Memory(
      memory.thinking & ~closes,
      memory.num_waits + (template == _WAIT),
    )

  return Controller(init, update, stack_templates([wait, cut, end]))


METHOD = Method(
  name='budget_forcing',
  title='budget forcing',
  file='budget_forcing.py',
  paper='2501.19393',
  cost='B + T_answer',
  what='sequential',
  how=('stimulation',),
)
