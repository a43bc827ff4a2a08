"""Budget forcing: end the thinking of a model at a budget, or prolong it.

Muennighoff et al., "s1: simple test-time scaling", 2501.19393; m1, 2504.00869.
Two interventions on one response: at the budget the end-of-thinking delimiter
is forced and the answer decoded; and when the model would end its thinking
early, the delimiter is dropped and "Wait" written in its place, up to a number
of times. For machine translation, 2510.06471 softens the first: close to the
budget the model's own proposal to end is made more likely. Costs at most
`budget + T_answer` tokens in sequence.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Int, Key

from ttc.sampling.controllers import Controller, stack_templates
from ttc.search.base import Method
from ttc.search.setting import Setting, think
from ttc.types import Prompt, Selection

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
  soft_from: ArrayLike = 0.95,
  soft_boost: ArrayLike = 0.0,
) -> Controller:
  """A controller that forces a response to think for a given budget.

  Args:
    end_id: the token by which the model proposes to end its thinking.
    end: written when it does so and is let; `[end_id]` if nothing is added.
    cut: written at the budget; s1 adds "Final Answer:" to `end` here.
    wait: written in place of a dropped end.
    budget: thinking tokens, "Wait"s included, delimiters not. Traced.
    num_waits: how many ends to drop, while budget is left. Traced.
    soft_from: share of the budget from which on the end is made more likely,
      95% in 2510.06471. Traced.
    soft_boost: what the logit of the end is raised by at the whole budget, in
      nats; in between, linearly. In nats, and not as a multiple of the logit,
      it does not depend on a constant added to all logits. Traced.

  Returns:
    A controller. Forced tokens are in the context and in the count of tokens,
    and not in the sampling log-probability. A bare `end_id` is never forced: it
    is let pass, or at the budget left as the only choice, so that it ends the
    response if it is a stop token.
  """
  at_end = -1 if tuple(end) == (end_id,) else _END  # -1: let it pass
  at_cut = -1 if tuple(cut) == (end_id,) else _CUT

  def init():
    return _Memory(jnp.bool_(True), jnp.int32(0))

  def update(memory, token, position):
    over = position >= budget
    ends = token == end_id
    room = position + len(wait) <= budget
    waits = ends & ~over & (memory.num_waits < num_waits) & room
    template = jnp.where(
      over, at_cut, jnp.where(waits, _WAIT, jnp.where(ends, at_end, -1))
    )
    template = jnp.where(memory.thinking, template, -1)
    closes = over | (ends & ~waits)
    return template, _Memory(
      memory.thinking & ~closes,
      memory.num_waits + (template == _WAIT),
    )

  def logits(memory, logits, position):
    used = position / jnp.maximum(budget, 1)
    nearness = jnp.clip((used - soft_from) / (1 - soft_from), 0.0, 1.0)
    boost = jnp.where(memory.thinking, soft_boost * nearness, 0.0)
    only = memory.thinking & (position >= budget) & (at_cut < 0)
    barred = only & (jnp.arange(logits.size) != end_id)
    return jnp.where(barred, -jnp.inf, logits.at[end_id].add(boost))

  templates = stack_templates([wait, cut, end])
  return Controller(init, update, templates, logits)


def _decode(
  setting: Setting, keys: Key[Array, ' B'], prompt: Prompt, num_samples: int
) -> Selection:
  """One end dropped for each response that the budget allows for."""
  force = lambda thinking, thoughts, budget: budget_forcing(
    thinking.end_id,
    end=thinking.end,
    cut=thinking.end,
    wait=thinking.wait,
    budget=budget,
    num_waits=thoughts - 1,
  )
  return think(setting, keys, prompt, num_samples, force)


METHOD = Method(
  name='budget_forcing',
  title='budget forcing',
  file='search/budget_forcing.py',
  paper='2501.19393',
  cost='B + T_answer',
  what='sequential',
  how=('stimulation',),
  decode=_decode,
  needs='thinking',
)
