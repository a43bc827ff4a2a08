"""What the Kinetics paper says and its formulas and model cards alone decide.

Each claim is a function without arguments, on the machine of the paper (NVIDIA
B200, 562.5 FLOPs per byte). What needs accuracies (the threshold at 14B, the
frontiers) is not here: see `frontier`.

Sadhukhan et al., 2025, arXiv 2506.05333.
"""

from typing import NamedTuple

import numpy as np

from ttc.scaling import frontier, kinetics
from ttc.scaling.hardware import HARDWARE, QWEN3


class Claim(NamedTuple):
  """A statement of the paper, and what the formulas say of it."""

  claim: str
  figure: str
  control: str
  holds: bool


def cache_dominates() -> Claim:
  """The parameters are a small part of the price."""
  cost = kinetics.dense_cost(QWEN3['8B'], 256, 8192)
  share = cost.param_flops / _price(cost)
  return Claim(
    'Qwen3-8B, 256 + 8192 tokens: parameters are 4% of the eFLOPs',
    f'{100 * share:.1f}%',
    f'of the FLOPs alone {100 * cost.param_flops / cost.flops:.0f}%',
    bool(abs(share - 0.04) < 0.005),
  )


def cache_grows_slowly() -> Claim:
  """Larger models have little more cache."""
  of_each = lambda fn: np.array([fn(shape) for shape in QWEN3.values()])
  params = of_each(lambda m: m.num_params)
  cache = of_each(lambda m: m.num_kv_heads * m.num_layers)
  heads = of_each(lambda m: m.num_heads * m.num_layers)
  grows = lambda y: frontier.growth_per_doubling(params, y)
  return Claim(
    'doubling the parameters of Qwen3 multiplies its cache by about 1.18',
    f'{grows(cache):.2f}, a line through the six models',
    f'query heads, which FLOPs count: {grows(heads):.2f}',
    bool(abs(grows(cache) / 1.18 - 1) < 0.05),
  )


def equal_prices() -> Claim:
  """A large model is no dearer than a small one that thinks a bit longer."""
  spent = kinetics.dense_cost(QWEN3['14B'], 256, 8192)
  by_flops = spent.param_flops / (2 * QWEN3['4B'].num_params)
  dense = kinetics.affordable_length(
    lambda n: _price(kinetics.dense_cost(QWEN3['4B'], 256, n)),
    _price(spent),
  )
  return Claim(
    '14B for 8k tokens costs what 4B costs for about 9k',
    f'{dense:.0f} tokens',
    f'by FLOPs of the parameters {by_flops:.0f} (the paper: 24k)',
    bool(abs(dense / 9000 - 1) < 0.05),
  )


def sparse_is_linear() -> Claim:
  """Dense attention is quadratic in the length; a budget makes it linear."""
  lengths = np.array([16384, 32768])
  shape = QWEN3['8B']
  grows = lambda cost: float(np.divide(*_price(cost)[::-1]))
  oracle = grows(kinetics.sparse_cost(shape, 1024, lengths, 1024))
  block = grows(kinetics.sparse_cost(shape, 1024, lengths, 1024, block_size=16))
  dense = grows(kinetics.dense_cost(shape, 1024, lengths))
  return Claim(
    'with sparse attention the price is linear in the length again',
    f'16k to 32k tokens: times {oracle:.2f}; with the search for blocks of 16, '
    f'which is quadratic, {block:.2f}',
    f'dense: times {dense:.2f}',
    bool(abs(oracle - 2) < 1e-9 and 2 < block < dense),
  )


def small_models_return() -> Claim:
  """How much longer 0.6B may think than 32B, for one price."""
  small, large = QWEN3['0.6B'], QWEN3['32B']
  ratios = []
  for cost_fn in (
    kinetics.dense_cost,
    lambda shape, prompt, n: kinetics.sparse_cost(shape, prompt, n, 256),
  ):
    found = kinetics.affordable_length(
      lambda n, cost_fn=cost_fn: _price(cost_fn(small, 256, n)),
      _price(cost_fn(large, 256, 32768)),
    )
    ratios.append(found / 32768)
  by_flops = large.num_params / small.num_params
  return Claim(
    'dense attention takes from small models what they have to gain, and '
    'sparse attention gives part of it back',
    f'for the price of 32B at 32k tokens, 0.6B writes {ratios[0]:.1f} times as '
    f'many dense, {ratios[1]:.1f} times with 256 KV tokens',
    f'by FLOPs of the parameters {by_flops:.0f} times',
    bool(ratios[0] < 2 < ratios[1] < by_flops),
  )


def fitted_growth_is_consistent() -> Claim:
  """The growth of budget and tokens that the paper fits to its runs."""
  budgets = np.array([128, 256, 512, 1024])
  shape = QWEN3['8B']
  before = _price(kinetics.sparse_cost(shape, 2048, 1e4, budgets))
  after = _price(kinetics.sparse_cost(shape, 2048, 1.74e4, 1.18 * budgets))
  growth = after / before
  return Claim(
    'twice the cost goes into 1.18 times the KV budget and 1.74 times the '
    'tokens',
    f'8B: that costs {growth[0]:.2f} times at 128 KV tokens, '
    f'{growth[-1]:.2f} times at 1024 (the fit itself needs the runs)',
    'the tokens alone cost 1.74 times',
    bool(np.all(np.abs(growth / 2 - 1) < 0.1)),
  )


def formulas_are_sound() -> Claim:
  """Sparse prices are never negative, nor above dense ones."""
  prompt = np.array([64, 256, 1024])[:, None, None]
  length = np.array([32, 128, 512, 2048, 8192])[:, None]
  budget = np.array([32, 64, 128, 256, 512, 1024])
  dense = prompt * length + length**2 / 2
  kv_bytes = QWEN3['8B'].kv_bytes_per_token
  ours = kinetics.sparse_cost(QWEN3['8B'], prompt, length, budget).bytes
  ours = ours / kv_bytes
  square = np.maximum(0, budget - prompt) ** 2 / 2
  wrong = lambda a: int(np.sum((a < 0) | (a > dense * (1 + 1e-12))))
  return Claim(
    'sparse attention reads no less than nothing, no more than dense',
    f'{wrong(ours)} of {ours.size} prices violate it',
    f'as released: {wrong(budget * length + square)} (token top-k), '
    f'{wrong(budget * length - square)} (block top-k)',
    wrong(ours) == 0,
  )


CLAIMS = (
  cache_dominates,
  cache_grows_slowly,
  equal_prices,
  sparse_is_linear,
  small_models_return,
  fitted_growth_is_consistent,
  formulas_are_sound,
)


def _price(cost: kinetics.DecodeCost) -> kinetics.Amounts:
  return kinetics.eflops(cost, HARDWARE['b200_fp8'].intensity)
