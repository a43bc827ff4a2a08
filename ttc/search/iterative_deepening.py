r"""Iterative deepening sampling: make a model look back at growing budgets.

"Iterative deepening sampling for large language models", 2502.05449. Whenever a
response reaches the budget of its stage, a trigger ("Wait, maybe I made some
mistakes") is written into it and the budget multiplied,

.. math:: B_j = \lceil \gamma B_{j-1} \rceil

so that a response of `T` tokens has about :math:`1 + \log_\gamma(T / B_0)`
triggers. Nothing is decoded twice: costs `T` tokens in sequence, of which
`len(trigger)` are forced for each trigger. Samples of it may be voted on like
any others.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Int, Key

from ttc.sampling.controllers import Controller, stack_templates
from ttc.search.base import Method
from ttc.search.setting import Setting, think
from ttc.types import Prompt, Selection

_BEYOND = 2.0**30  # more tokens than any response has


class _Memory(NamedTuple):
  stage: Int[Array, '']  # triggers so far
  at_border: Bool[Array, '']  # a trigger may be written here


def iterative_deepening(
  end_ids: Sequence[int],
  *,
  trigger: Sequence[int],
  first_budget: ArrayLike,
  growth: ArrayLike,
  num_triggers: int,
  retry_on_eos: bool = False,
  delimiter_ids: Sequence[int] = (),
) -> Controller:
  """A controller that writes a trigger at each of a series of budgets.

  Args:
    end_ids: the tokens by which the model proposes to end the response.
    trigger: written at position `B_j`, or as soon after it as may be.
    first_budget: `B_0`, tokens from the start of the response, triggers and all
      other forced tokens included. Traced.
    growth: `gamma > 1`. Traced.
    num_triggers: most triggers in a response, at least 1; static. After them
      it goes on to its end.
    retry_on_eos: also write the trigger in place of an end that is proposed
      before the budget of the stage; static.
    delimiter_ids: write a trigger at a budget only behind one of these tokens,
      such as a newline; by default anywhere. Static.

  Returns:
    A controller. Forced tokens are in the context and in the count of tokens,
    and not in the sampling log-probability.
  """
  budgets = deepening_budgets(first_budget, growth, num_triggers)
  is_one_of = lambda token, ids: jnp.isin(token, jnp.asarray(ids, jnp.int32))
  anywhere = not delimiter_ids
  after_trigger = anywhere or trigger[-1] in delimiter_ids

  def init():
    return _Memory(jnp.int32(0), jnp.bool_(anywhere))

  def update(memory, token, position):
    budget = budgets[jnp.minimum(memory.stage, num_triggers - 1)]
    due = (position >= budget) & memory.at_border
    if retry_on_eos:
      due |= (position < budget) & is_one_of(token, end_ids)
    due &= memory.stage < num_triggers
    at_border = anywhere | is_one_of(token, delimiter_ids)
    return jnp.where(due, 0, -1), _Memory(
      memory.stage + due, jnp.where(due, after_trigger, at_border)
    )

  return Controller(init, update, stack_templates([trigger]))


def deepening_budgets(
  first_budget: ArrayLike, growth: ArrayLike, num_budgets: int
) -> Int[Array, ' J']:
  r"""The budgets :math:`B_0, B_j = \lceil \gamma B_{j-1} \rceil`, in tokens.

  Whole numbers are meant up to float32 rounding: 1.2 times 5 is 6.

  Args:
    first_budget: `B_0`, at least 1.
    growth: `gamma > 1`.
    num_budgets: `J`; static.

  Returns:
    Increasing budgets, up to 2^30.
  """
  slightly_less = jnp.multiply(growth, np.float32(1 - 1e-6))

  def step(budget, _):
    following = jnp.ceil(slightly_less * budget)
    return jnp.minimum(following, _BEYOND).astype(jnp.int32), budget

  first = jnp.asarray(first_budget, jnp.int32)
  return jax.lax.scan(step, first, length=num_budgets)[1]


def _decode(
  setting: Setting, keys: Key[Array, ' B'], prompt: Prompt, num_samples: int
) -> Selection:
  """Budgets of 1, 2, 4, .. responses; ends that come earlier are retried."""

  def deepen(thinking, thoughts, budget):
    del budget
    return iterative_deepening(
      [thinking.end_id],
      trigger=thinking.wait,
      first_budget=setting.capacity,
      growth=2.0,
      num_triggers=thoughts - 1,
      retry_on_eos=True,
    )

  return think(setting, keys, prompt, num_samples, deepen)


METHOD = Method(
  name='iterative_deepening',
  title='iterative deepening',
  file='search/iterative_deepening.py',
  paper='2502.05449',
  cost='T + log(T / B_0) T_trigger',
  what='sequential',
  how=('stimulation',),
  decode=_decode,
  needs='thinking',
)
