r"""Kinetics: the price of test-time compute when memory is counted too.

Weights are read once for all sequences that a server decodes together, but each
sequence reads its own cache of keys and values, at every step. An equivalent
FLOP (eFLOP) charges a byte as many FLOPs as the machine could have done in the
time that the byte takes, the intensity `I` of the hardware:

.. math:: \text{eFLOPs} = C_\text{comp} + I \, C_\text{mem}
    \quad \text{or} \quad \max(C_\text{comp}, I \, C_\text{mem})

For `N` trials of `Lout` tokens to a prompt of `Lin` tokens, a cache of
`Dkv = 2 K Dh L` numbers of `b` bytes a token, and `r = H / K` query heads to
each cached one,

.. math::
    C_\text{comp} &= 2 N P L_{out}
        + r N D_{kv} (2 L_{in} L_{out} + L_{out}^2) \\
    C_\text{mem} &= b D_{kv} (L_{in} L_{out} + N L_{out}^2 / 2)

Sums over steps are integrals here, half a position per step below the counts of
`costs`. These are NumPy float64 functions of the host, and all that they take
broadcasts, models included (see `stack_models`). A length is that of a response
that was seen: average the costs of many with `mean_cost`. The cost of the mean
length is too low, because the cost is quadratic.

Sadhukhan et al., 2025, "Kinetics: Rethinking Test-Time Scaling Laws", arXiv
2506.05333, eqs. 1-4 and 8-10.
"""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, TypeAlias

import jax
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Num

from ttc.scaling.costs import ModelShape
from ttc.scaling.expert_costs import distinct_experts

Numbers: TypeAlias = Num[ArrayLike, '...']
Amounts: TypeAlias = Float[np.ndarray, '...']

_BYTES_PER_PARAM = 2  # bfloat16


class DecodeCost(NamedTuple):
  """What decoding all trials of a problem takes, by what it is spent on."""

  param_flops: Amounts
  attention_flops: Amounts
  param_bytes: Amounts
  kv_bytes: Amounts

  @property
  def flops(self) -> Amounts:
    """All FLOPs; without attention it would be the law `2 P` per token."""
    return np.asarray(self.param_flops + self.attention_flops)

  @property
  def bytes(self) -> Amounts:
    """All bytes read from memory."""
    return np.asarray(self.param_bytes + self.kv_bytes)


def stack_models(shapes: Sequence[ModelShape], num_axes: int = 0) -> ModelShape:
  """Several models as one whose fields are arrays `[models, 1, ..., 1]`.

  Args:
    shapes: of the models.
    num_axes: how many axes of length 1 follow, for what varies per model.

  Returns:
    A shape that the functions of this module broadcast over.
  """
  columns = np.array(shapes, np.float64).T
  return ModelShape(*(x.reshape(-1, *(1,) * num_axes) for x in columns))


def dense_cost(
  shape: ModelShape,
  prompt_length: Numbers,
  length: Numbers,
  num_trials: Numbers = 1,
  *,
  shared_prompt: bool = True,
  include_prefill: bool = False,
  include_param_reads: Numbers | None = None,
) -> DecodeCost:
  r"""Cost of decoding with attention to everything, eqs. 1-4.

  Args:
    shape: numbers of the model.
    prompt_length: `Lin`, tokens.
    length: `Lout`, tokens of each trial.
    num_trials: `N`, trials of one prompt.
    shared_prompt: the trials decode in step and read the prompt's cache once
      for all. (With random lengths its reads end with the longest trial; the
      paper, and `mean_cost`, charge for the mean one.)
    include_prefill: add the FLOPs of reading the prompt once.
    include_param_reads: the number of sequences that decode together; each step
      reads all weights, in two bytes, once for that many; of a mixture those
      of the experts that so many tokens touch (see `distinct_experts`). The
      paper leaves this out.

  Returns:
    FLOPs and bytes.
  """
  prompt, length, trials = _floats(prompt_length, length, num_trials)
  own = length**2 / 2
  copies = 1 if shared_prompt else trials
  return _charge(
    shape,
    prompt,
    tokens=trials * length,
    flop_positions=trials * (prompt * length + own),
    byte_positions=copies * prompt * length + trials * own,
    include_prefill=include_prefill,
    include_param_reads=include_param_reads,
  )


def sparse_cost(
  shape: ModelShape,
  prompt_length: Numbers,
  length: Numbers,
  budget: Numbers,
  num_trials: Numbers = 1,
  *,
  block_size: Numbers | None = None,
  include_prefill: bool = False,
  include_param_reads: Numbers | None = None,
) -> DecodeCost:
  r"""Cost of decoding with attention to `B` tokens per head and step, eq. 8.

  .. math:: A = \int_0^{L_{out}} \min(B, L_{in} + t) \, dt

  positions are attended to by each trial; trials choose different ones, so they
  share no reads. (The paper gives `A = B Lout`, for `B <= Lin`. Its code
  corrects this by `(B - Lin)^2 / 2`, for token top-k with the wrong sign, and
  without regard to responses that end within the budget, whose cost becomes
  negative.)

  Args:
    shape: numbers of the model.
    prompt_length: `Lin`, tokens.
    length: `Lout`, tokens of each trial.
    budget: `B`, tokens; of block top-k the blocks times their size, and the
      local window.
    num_trials: `N`.
    block_size: adds `search_cost` with such blocks; None is an oracle that
      knows the best tokens for free, a bound and no algorithm.
    include_prefill: see `dense_cost`.
    include_param_reads: see `dense_cost`.

  Returns:
    FLOPs and bytes. Those of the oracle are never above `dense_cost` with
    `shared_prompt=False`, and search adds at most `1 / (2 bs)` of it. With a
    shared prompt dense attention reads less wherever `B <= Lin` and
    `B > (1 - 1 / (2 bs)) (Lin / N + Lout / 2)`; for the oracle `bs` is
    infinite.
  """
  prompt, length, budget, trials = _floats(
    prompt_length, length, budget, num_trials
  )
  growing = np.clip(budget - prompt, 0, length)  # steps until the budget binds
  attended = prompt * growing + growing**2 / 2 + budget * (length - growing)
  cost = _charge(
    shape,
    prompt,
    tokens=trials * length,
    flop_positions=trials * attended,
    byte_positions=trials * attended,
    include_prefill=include_prefill,
    include_param_reads=include_param_reads,
  )
  if block_size is None:
    return cost
  search = search_cost(shape, prompt, length, block_size, trials)
  return jax.tree.map(np.add, cost, search)


def search_cost(
  shape: ModelShape,
  prompt_length: Numbers,
  length: Numbers,
  block_size: Numbers,
  num_trials: Numbers = 1,
) -> DecodeCost:
  r"""Cost of scoring all blocks by their pooled keys at each step, eq. 9.

  A block of `bs` tokens has one pooled key, and no value: `1 / (2 bs)` of dense
  attention, whose prompt is shared. (The printed equation lacks `r` in a term;
  the released code rounds the number of blocks down, to none at all for short
  texts.)

  Args:
    shape: numbers of the model.
    prompt_length: `Lin`, tokens.
    length: `Lout`, tokens of each trial.
    block_size: `bs`, tokens.
    num_trials: `N`.

  Returns:
    FLOPs and bytes, none of them for parameters.
  """
  dense = dense_cost(shape, prompt_length, length, num_trials)
  share = 1 / (2 * np.asarray(block_size, np.float64))
  nothing = np.zeros_like(dense.param_flops)
  return _same_shape(
    nothing, share * dense.attention_flops, nothing, share * dense.kv_bytes
  )


def eflops(
  cost: DecodeCost,
  intensity: Numbers,
  combine: Literal['sum', 'max'] = 'sum',
) -> Amounts:
  """Equivalent FLOPs of a cost.

  Args:
    cost: FLOPs and bytes.
    intensity: `I`, FLOPs per byte; see `hardware`.
    combine: 'sum' is the paper's; 'max' is the roofline, where computing and
      reading overlap entirely.

  Returns:
    eFLOPs.
  """
  reads = np.asarray(intensity, np.float64) * cost.bytes
  combine_fn = {'sum': np.add, 'max': np.maximum}[combine]
  return np.asarray(combine_fn(cost.flops, reads))


def mean_cost(cost: DecodeCost, axis: int = -1) -> DecodeCost:
  """Expected cost over observed lengths, eq. 10: the mean of the costs."""
  return jax.tree.map(lambda x: np.asarray(np.mean(x, axis=axis)), cost)


def balanced_block_size(
  prompt_length: Numbers, length: Numbers, budget: Numbers
) -> Amounts:
  r"""Block size at which search reads as much as attention.

  .. math:: bs = S / (2 B)

  with `S = Lin + Lout / 2` the mean context. Larger blocks are searched for
  less than they cost to attend to.

  Args:
    prompt_length: `Lin`, tokens.
    length: `Lout`, tokens.
    budget: `B`, tokens.

  Returns:
    Tokens of a block, not rounded.
  """
  prompt, length, budget = _floats(prompt_length, length, budget)
  return np.asarray((prompt + length / 2) / (2 * budget))


def affordable_length(
  price_fn: Callable[[Amounts], Amounts],
  limit: Numbers,
  max_length: float = 2.0**30,
) -> Amounts:
  """The length that a price buys, by bisection.

  Args:
    price_fn: price of a length, increasing; it is called with an array of the
      shape that `limit` and its own result broadcast to.
    limit: to be spent.
    max_length: the largest answer.

  Returns:
    Lengths, not rounded.
  """
  limit = np.asarray(limit, np.float64)
  low = np.zeros(np.broadcast(limit, price_fn(np.zeros_like(limit))).shape)
  high = np.full_like(low, max_length)
  for _ in range(80):
    middle = (low + high) / 2
    fits = price_fn(middle) <= limit
    low, high = np.where(fits, middle, low), np.where(fits, high, middle)
  return low


def _charge(
  shape,
  prompt,
  *,
  tokens,
  flop_positions,
  byte_positions,
  include_prefill,
  include_param_reads,
):
  """Prices tokens through the weights and positions attended to."""
  kv_elements = 2 * shape.num_kv_heads * shape.head_dim * shape.num_layers
  position_flops = 4 * shape.num_heads * shape.head_dim * shape.num_layers
  param_bytes = 0.0
  if include_param_reads is not None:
    together = np.asarray(include_param_reads, np.float64)
    more = distinct_experts(shape.num_experts, shape.top_k, together)
    read = shape.num_params + shape.expert_params * (more - shape.top_k)
    param_bytes = _BYTES_PER_PARAM * read * tokens / together
  if include_prefill:
    tokens = tokens + prompt
    flop_positions = flop_positions + prompt**2 / 2
  return _same_shape(
    2 * shape.num_params * tokens,
    position_flops * flop_positions,
    param_bytes,
    kv_elements * shape.bytes_per_element * byte_positions,
  )


def _same_shape(*fields: ArrayLike) -> DecodeCost:
  return DecodeCost(*np.broadcast_arrays(*fields))


def _floats(*values: ArrayLike) -> list[Amounts]:
  return [np.asarray(value, np.float64) for value in values]
