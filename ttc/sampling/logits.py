"""From logits to the law of a draw: temperature, top-k, top-p, min-p.

Inference engines apply the same four filters in different orders and break ties
differently, so each order is a named preset:

  hf      temperature, top-k, top-p, min-p; top-k keeps ties with the k-th, and
          of ties at its border top-p keeps the last ones that it needs
  vllm    temperature, min-p, top-k, top-p; ties as hf
  sglang  temperature, then all three against the same unfiltered
          probabilities; exactly k tokens are kept
  tunix   temperature, exactly k tokens, top-p of what is left; no min-p: a row
          that asks for it has no law

Every parameter but the preset is a traced scalar, so a batch may mix them and
no value recompiles; filters that are known to be off when a program is made are
not in it. A temperature below 1e-5 means the arg-max of the logits.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, UInt32

Preset = Literal['hf', 'vllm', 'sglang', 'tunix']
GREEDY_TEMPERATURE = 1e-5


@struct.dataclass
class SamplingParams:
  """The law of a draw, as one value; the defaults filter nothing.

  All fields but `preset` are scalars, or arrays that broadcast to `[B, N]`.

  Attributes:
    temperature: divides the logits; below 1e-5 the arg-max is taken.
    top_k: keep the `k` likeliest tokens; 0 keeps all.
    top_p: keep the smallest set of likeliest tokens with this mass.
    min_p: drop tokens below this fraction of the likeliest one's probability.
    preset: order of the filters, see the module; static.
  """

  temperature: Any = 1.0
  top_k: Any = 0
  top_p: Any = 1.0
  min_p: Any = 0.0
  preset: Preset = struct.field(pytree_node=False, default='hf')


def check_sampling_params(params: SamplingParams) -> None:
  """Raises ValueError for values that mean nothing; traced ones pass."""
  if params.preset not in get_args(Preset):
    raise ValueError(
      f'preset={params.preset!r} is not one of {get_args(Preset)}'
    )
  rules = (
    ('temperature', lambda x: x >= 0, '>= 0 (0 is greedy)'),
    ('top_k', lambda x: x >= 0, '>= 0 (0 is off)'),
    ('top_p', lambda x: (x > 0) & (x <= 1), 'in (0, 1] (1 is off)'),
    ('min_p', lambda x: (x >= 0) & (x < 1), 'in [0, 1) (0 is off)'),
  )
  if params.preset == 'tunix':
    rules = (*rules[:3], ('min_p', lambda x: x == 0, '0 with preset tunix'))
  filters = params.top_k, params.top_p, params.min_p
  without_filters = all(x is None for x in filters)
  for name, valid, accepted in rules:
    value = getattr(params, name)
    if _is_traced(value) or (
      value is None and without_filters and name != 'temperature'
    ):
      continue
    if value is None:
      raise ValueError(f'{name} is None; it must be {accepted}')
    if not np.all(valid(np.asarray(value))):
      raise ValueError(f'{name}={value} must be {accepted}')


def without_idle_filters(params: SamplingParams) -> SamplingParams:
  """The same law; where no filter is known to remove anything, without them.

  They are a third of what a program that draws takes to compile.
  """
  k, p, floor = params.top_k, params.top_p, params.min_p
  if any(x is None or _is_traced(x) for x in (k, p, floor)):
    return params
  if np.any(np.asarray(k) > 0) or np.any(np.asarray(p) < 1) or np.any(floor):
    return params
  return dataclasses.replace(params, top_k=None, top_p=None, min_p=None)


def _is_traced(x) -> bool:
  return isinstance(x, jax.core.Tracer)  # pyright: ignore[reportAttributeAccessIssue]  # stub lacks it


def law(
  logits: Float[Array, '*A V'], params: SamplingParams
) -> Float[Array, '*A V']:
  """The logits whose softmax the next tokens are drawn from.

  Tempered and filtered; of a greedy row all but the first of the largest is
  masked. A row has no law if a logit is NaN or infinite, or none is left: it is
  `-inf` everywhere, and `draw` finds no token in it.

  Args:
    logits: of the model, `-inf` for tokens that must not be drawn.
    params: fields `[*A]`.

  Returns:
    Logits in float32.
  """
  logits = logits.astype(jnp.float32)
  top = jnp.max(logits, axis=-1, keepdims=True)  # NaN if any is
  best = jnp.argmax(logits, axis=-1, keepdims=True)
  temperature = jnp.asarray(params.temperature, jnp.float32)[..., None]
  greedy = temperature < GREEDY_TEMPERATURE
  scaled = logits / jnp.where(greedy, 1.0, temperature)
  filter_rows = filter_logits
  for _ in logits.shape[:-1]:
    filter_rows = jax.vmap(filter_rows)
  if params.top_k is not None:
    scaled = jax.lax.cond(
      jnp.any(is_filtering(params)),
      filter_rows,
      lambda logits, _: logits,
      scaled,
      params,
    )
  certain = jnp.where(jnp.arange(logits.shape[-1]) == best, 0.0, -jnp.inf)
  scaled = jnp.where(greedy, certain, scaled)
  return jnp.where(jnp.isfinite(top), scaled, -jnp.inf)


def is_filtering(params: SamplingParams) -> Bool[Array, '*A']:
  """Whether any of the three filters removes anything."""
  top_k, top_p = jnp.asarray(params.top_k), jnp.asarray(params.top_p)
  return (top_k > 0) | (top_p < 1) | (jnp.asarray(params.min_p) > 0)


def filter_logits(
  logits: Float[Array, ' V'], params: SamplingParams
) -> Float[Array, ' V']:
  """Masks with `-inf` what the filters of the preset remove from one row.

  Args:
    logits: already divided by the temperature.
    params: scalars; the temperature is not used.

  Returns:
    The logits with at least the likeliest token kept.

  Raises:
    ValueError: if the preset is not known.
  """
  k, p, floor = params.top_k, params.top_p, params.min_p
  logits = logits.astype(jnp.float32)
  if params.preset == 'hf':
    return _min_p(_top_p(_top_k(logits, k), p), floor)
  if params.preset == 'vllm':
    return _top_p(_top_k(_min_p(logits, floor), k), p)
  if params.preset == 'sglang':
    keep = _first_k(logits, k) & _first_p(logits, p)
    return _min_p(logits, floor, keep)
  if params.preset == 'tunix':
    kept = jnp.where(_first_k(logits, k), logits, -jnp.inf)
    keep = _first_p(kept, p)
    return jnp.where(keep & (jnp.asarray(floor) <= 0), kept, -jnp.inf)
  raise ValueError(f'preset={params.preset!r} is not one of {get_args(Preset)}')


def _top_k(logits, k):
  """Removes logits below the k-th largest; ties with it stay."""
  threshold = _bisect(logits, lambda keep: jnp.sum(keep) >= k)
  keep = (_ordered(logits) >= threshold) | (k <= 0)
  return jnp.where(keep, logits, -jnp.inf)


def _top_p(logits, p):
  """Removes, from the least likely on, what has at most mass `1 - p` in all.

  Ties are removed in the order of their index, like `transformers`, which sorts
  ascending and keeps what lies above a cumulative mass of `1 - p`.
  """
  probs = jax.nn.softmax(logits)
  spare = 1 - p
  below = lambda keep: jnp.sum(jnp.where(keep, 0.0, probs))
  threshold = _bisect(logits, lambda keep: below(keep) <= spare)
  ordered = _ordered(logits)
  threshold = jnp.minimum(threshold, jnp.max(ordered))
  tied = ordered == threshold
  rank = jnp.cumsum(tied)  # 1 for the first of the ties
  mass = below(ordered >= threshold) + rank * jnp.max(
    jnp.where(tied, probs, 0.0)
  )
  cut = tied & (mass <= spare) & (rank < rank[-1])
  keep = ((ordered >= threshold) & ~cut) | (p >= 1)
  return jnp.where(keep, logits, -jnp.inf)


def _min_p(logits, floor, keep: Bool[Array, ' V'] | bool = True):
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

  Found digit by digit, by compare and reduce instead of a sort: exact, cheap to
  batch and to shard. A CPU takes 32 passes of one bit, bound by what it
  compares; other devices 8 of four bits, as each pass takes some launches.
  """
  ordered = _ordered(x)
  return jax.lax.platform_dependent(
    ordered,
    cpu=functools.partial(_by_digits, enough, 1),
    default=functools.partial(_by_digits, enough, 4),
  )


def _by_digits(enough, bits: int, ordered) -> UInt32[Array, '']:
  """`_bisect`, `bits` at a time: of all digits the largest that is enough."""
  digits = jnp.arange(1, 2**bits, dtype=jnp.uint32)

  def set_digit(i, threshold):
    shift = (32 - bits * (i + 1)).astype(jnp.uint32)
    test = lambda digit: enough(ordered >= (threshold | (digit << shift)))
    digit = jnp.sum(jax.vmap(test)(digits), dtype=jnp.uint32)
    return threshold | (digit << shift)

  return jax.lax.fori_loop(0, 32 // bits, set_digit, jnp.uint32(0))


def _first_k(logits, k) -> Bool[Array, ' V']:
  """Exactly the `k` likeliest; of ties those of the lowest index."""
  threshold = _bisect(logits, lambda keep: jnp.sum(keep) >= k)
  ordered = _ordered(logits)
  tied = ordered == threshold
  missing = k - jnp.sum(ordered > threshold)
  return (
    (ordered > threshold) | (tied & (jnp.cumsum(tied) <= missing)) | (k <= 0)
  )


def _first_p(logits, p) -> Bool[Array, ' V']:
  """Those before which, from the likeliest on, lies at most a mass of `p`.

  Ties are counted in the order of their index.
  """
  probs = jax.nn.softmax(logits)
  mass = lambda keep: jnp.sum(jnp.where(keep, probs, 0.0))
  threshold = _bisect(logits, lambda keep: mass(keep) > p)
  ordered = _ordered(logits)
  tied = ordered == threshold
  before = mass(ordered > threshold) + (jnp.cumsum(tied) - 1) * jnp.max(
    jnp.where(tied, probs, 0.0)
  )
  return (ordered > threshold) | (tied & (before <= p)) | (p >= 1)
