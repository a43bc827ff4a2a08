"""From logits to the law that is sampled: temperature, top-k, top-p, min-p.

Inference engines apply the same four filters in different orders and break ties
differently, so each order is a named preset:

  hf      temperature, top-k, top-p, min-p; ties at a threshold are kept
  vllm    temperature, min-p, top-k, top-p; ties at a threshold are kept
  sglang  temperature, then all three against the same unfiltered
          probabilities; exactly k tokens are kept
  tunix   temperature, exactly k tokens, top-p of what is left; no min-p

Every parameter is a traced scalar, so a batch may mix them and no value
recompiles. A temperature below 1e-5 means the arg-max of the logits.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt32

Preset = Literal['hf', 'vllm', 'sglang', 'tunix']
GREEDY_TEMPERATURE = 1e-5


class SamplingParams(NamedTuple):
  """Scalars, or arrays that broadcast to `[B, N]`; the defaults filter nothing.

  Attributes:
    temperature: divides the logits; below 1e-5 the arg-max is taken.
    top_k: keep the `k` likeliest tokens; 0 or less keeps all.
    top_p: keep the smallest set of likeliest tokens with this mass.
    min_p: drop tokens below this fraction of the likeliest one's probability.
  """

  temperature: Float[Array, '*A'] | float = 1.0
  top_k: Int[Array, '*A'] | int = 0
  top_p: Float[Array, '*A'] | float = 1.0
  min_p: Float[Array, '*A'] | float = 0.0


def check_sampling_params(params: SamplingParams) -> None:
  """Raises ValueError for concrete values that mean nothing."""
  rules = (
    ('temperature', lambda x: x >= 0, '>= 0 (0 is greedy)'),
    ('top_k', lambda x: x >= 0, '>= 0 (0 is off)'),
    ('top_p', lambda x: (x > 0) & (x <= 1), 'in (0, 1] (1 is off)'),
    ('min_p', lambda x: (x >= 0) & (x < 1), 'in [0, 1) (0 is off)'),
  )
  for name, valid, accepted in rules:
    value = getattr(params, name)
    if not bool(jnp.all(valid(jnp.asarray(value)))):
      raise ValueError(f'{name}={value} must be {accepted}')


def is_filtering(params: SamplingParams) -> Bool[Array, '*A']:
  """Whether any of the three filters removes anything."""
  top_k, top_p, min_p = map(jnp.asarray, params[1:])
  return (top_k > 0) | (top_p < 1) | (min_p > 0)


def scale(
  logits: Float[Array, ' V'], temperature: Float[Array, '']
) -> Float[Array, ' V']:
  """Divides by the temperature; leaves the logits of a greedy row alone."""
  greedy = temperature < GREEDY_TEMPERATURE
  return logits / jnp.where(greedy, 1.0, temperature)


def filter_logits(
  logits: Float[Array, ' V'], params: SamplingParams, preset: Preset = 'hf'
) -> Float[Array, ' V']:
  """Masks with `-inf` what the filters of `preset` remove from one row.

  Args:
    logits: already divided by the temperature.
    params: scalars; the temperature is not used.
    preset: whose order and tie rule, see the module.

  Returns:
    The logits with at least the likeliest token kept.

  Raises:
    ValueError: if the preset is not known.
  """
  _, k, p, floor = params
  logits = logits.astype(jnp.float32)
  if preset == 'hf':
    return _min_p(_top_p(_top_k(logits, k), p), floor)
  if preset == 'vllm':
    return _top_p(_top_k(_min_p(logits, floor), k), p)
  if preset == 'sglang':
    keep = _ranked(
      logits, lambda probs: (_within_k(probs, k), _within_p(probs, p))
    )
    return _min_p(logits, floor, keep)
  if preset == 'tunix':
    kept = jnp.where(
      _ranked(logits, lambda probs: (_within_k(probs, k),)), logits, -jnp.inf
    )
    keep = _ranked(kept, lambda probs: (_within_p(probs, p),))
    return jnp.where(keep, kept, -jnp.inf)
  raise ValueError(f'preset={preset!r} is not one of {get_args(Preset)}')


def _top_k(logits, k):
  """Removes logits below the k-th largest; ties with it stay."""
  threshold = _bisect(logits, lambda keep: jnp.sum(keep) >= k)
  keep = (_ordered(logits) >= threshold) | (k <= 0)
  return jnp.where(keep, logits, -jnp.inf)


def _top_p(logits, p):
  """Keeps the largest logits, including the one that reaches mass p."""
  probs = jax.nn.softmax(logits)
  enough = lambda keep: jnp.sum(jnp.where(keep, probs, 0.0)) >= p
  threshold = jnp.minimum(_bisect(logits, enough), jnp.max(_ordered(logits)))
  keep = (_ordered(logits) >= threshold) | (p >= 1)
  return jnp.where(keep, logits, -jnp.inf)


def _min_p(logits, floor, keep=True):
  """Removes tokens below `floor` times the likeliest one's probability."""
  threshold = jnp.max(logits) + jnp.log(floor)
  return jnp.where(keep & (logits >= threshold), logits, -jnp.inf)


def _ordered(x: Float[Array, ' V']) -> UInt32[Array, ' V']:
  """Unsigned integers in the order of the floats they come from."""
  x = jnp.where(x == 0, 0.0, x)  # -0.0 equals 0.0
  bits = jax.lax.bitcast_convert_type(x, jnp.uint32)
  sign = jnp.uint32(1 << 31)
  return jnp.where(bits & sign, ~bits, bits | sign)


def _bisect(
  x: Float[Array, ' V'], enough: Callable[[Bool[Array, ' V']], Bool[Array, '']]
) -> UInt32[Array, '']:
  """The largest threshold `t` such that `enough(ordered(x) >= t)`.

  Found bit by bit: 32 passes of compare and reduce instead of a sort, exact,
  and cheap to batch and to shard.
  """
  ordered = _ordered(x)

  def set_bit(i, threshold):
    candidate = threshold | (jnp.uint32(1 << 31) >> i.astype(jnp.uint32))
    return jnp.where(enough(ordered >= candidate), candidate, threshold)

  return jax.lax.fori_loop(0, 32, set_bit, jnp.uint32(0))


def _ranked(logits, rules) -> Bool[Array, ' V']:
  """Applies rules on descending probabilities and undoes the sort."""
  order = jnp.argsort(-logits, stable=True)
  probs = jax.nn.softmax(logits)[order]
  keep = jnp.ones(logits.shape, bool)
  for rule in rules(probs):
    keep &= rule
  return jnp.zeros_like(keep).at[order].set(keep)


def _within_k(probs, k):
  return (jnp.arange(probs.shape[0]) < k) | (k <= 0)


def _within_p(probs, p):
  return (jnp.cumsum(probs) - probs <= p) | (p >= 1)
