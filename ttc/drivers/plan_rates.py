"""What a machine does in a second of each part of a decoding step.

Each part is a few steps of what the model calls, on arrays of its own.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ttc import sampling
from ttc.kernels.partial_attention import Segment
from ttc.models import TransformerConfig, layer_cache, rope
from ttc.models.layers import ACTIVATIONS, matmul, rms_norm
from ttc.sampling.draw import draw, log_prob_of
from ttc.sampling.logits import law, without_idle_filters
from ttc.sampling.stopping import forbid_early_stops

_STEPS = 8  # of a timed call


class Amounts(NamedTuple):
  """Of one step: what each part is counted in; and of a machine, a second.

  Attributes:
    products: FLOPs of matrix products.
    attention: bytes of keys and values.
    drawing: bytes of logits.
    between: bytes of what layers make between their products.
  """

  products: float
  attention: float
  drawing: float
  between: float


def step_amounts(
  config: TransformerConfig, num_rows: int, prompt_tokens: int, room: int
) -> Amounts:
  """What a decoding step does.

  Args:
    config: of the model; float32.
    num_rows: responses to one prompt.
    prompt_tokens: of it.
    room: for tokens of a response, all of which a CPU reads, used or not.

  Returns:
    The amounts.
  """
  c = config
  cached = prompt_tokens + num_rows * room
  kv = 2 * c.num_kv_heads * c.head_dim * c.num_layers
  return Amounts(
    products=2 * num_rows * sum(num_weights(config)),
    attention=4 * kv * cached,
    drawing=4 * num_rows * c.vocab_size,
    between=4 * num_rows * c.num_layers * between_width(config),
  )


def num_weights(config: TransformerConfig) -> tuple[int, int]:
  """Of all layers' kernels, and of the table that makes logits."""
  of_layer = sum(a * b for a, b in kernel_shapes(config))
  return config.num_layers * of_layer, config.vocab_size * config.embed_dim


def between_width(config: TransformerConfig) -> int:
  """Numbers that a layer makes of a token between its products.

  Two norms and two sums, queries and keys that are turned, and the activation.
  """
  c = config
  return (
    4 * c.embed_dim + (c.num_heads + c.num_kv_heads) * c.head_dim + c.mlp_dim
  )


def kernel_shapes(config: TransformerConfig) -> list[tuple[int, int]]:
  """`[out, in]` of query, key, value, output, gate, up and down."""
  c = config
  q, kv = c.num_heads * c.head_dim, c.num_kv_heads * c.head_dim
  D, F = c.embed_dim, c.mlp_dim
  return [(q, D), (kv, D), (kv, D), (D, q), (F, D), (F, D), (D, F)]


def parts(
  config: TransformerConfig, num_rows: int, prompt_tokens: int, room: int
) -> dict[str, Callable[[], Any]]:
  """Functions that do `_STEPS` steps of each part, compiled.

  Arguments as of `step_amounts`.
  """
  made = (
    _products(config, num_rows),
    _attention(config, num_rows, prompt_tokens, room),
    _drawing(config, num_rows),
    _between(config, num_rows),
  )
  return {
    name: _compiled(*part)
    for name, part in zip(Amounts._fields, made, strict=True)
  }


def reading(config: TransformerConfig, num_rows: int) -> Callable[[], Any]:
  """The products of a prompt of so many tokens, `_STEPS` times."""
  return _compiled(*_products(config, num_rows))


def of_each(seconds: float) -> float:
  """Of one of the steps that are timed together."""
  return seconds / _STEPS


def rates(amounts: Amounts, seconds: Mapping[str, float]) -> Amounts:
  """Of a second, from the seconds of each function of `parts`."""
  did = amounts._asdict().items()
  return Amounts(**{name: x / of_each(seconds[name]) for name, x in did})


def _compiled(step: Callable[..., Any], carry: Any, *given: Any):
  """`_STEPS` times `carry = step(carry, *given)` in one program."""

  def run(carry, *given):
    turn = lambda carry, _: (step(carry, *given), None)
    return jax.lax.scan(turn, carry, length=_STEPS)[0]

  program = jax.jit(run).lower(carry, *given).compile()
  return lambda: jax.block_until_ready(program(carry, *given))


def _full(*shape):
  return jnp.full(shape, 1e-3)


def _products(config, N) -> tuple[Any, ...]:
  """Every kernel is read once a step: a single one would stay in caches."""
  shapes, L = kernel_shapes(config), config.num_layers
  kernels = [[_full(*shape) for shape in shapes] for _ in range(L)]
  table = _full(config.vocab_size, config.embed_dim)
  groups = config.num_heads // config.num_kv_heads

  def step(x, kernels, table):
    for query, key, value, output, gate, up, down in kernels:
      more = jnp.tile(matmul(key, x) + matmul(value, x), (1, groups))
      x = matmul(output, matmul(query, x) + more)
      x = matmul(down, matmul(gate, x) + matmul(up, x))
    return x / (1 + jnp.max(jnp.abs(matmul(table, x))))  # stays what it is

  return step, jnp.ones((N, config.embed_dim)), kernels, table


def _attention(config, N, P, S) -> tuple[Any, ...]:
  """A token is written to each cache, which is attended to."""
  K, D, L = config.num_kv_heads, config.head_dim, config.num_layers
  pair = lambda *shape: Segment(_full(*shape), _full(*shape))
  prompts = [pair(1, K, P, D) for _ in range(L)]
  caches = [pair(1, N, K, S, D) for _ in range(L)]
  before = jnp.full((1, N), S // 2)

  def step(carry, prompts):
    query, caches, before = carry
    written = []
    for prompt, cache in zip(prompts, caches, strict=True):
      new = Segment(*(query[:, :, :, :, 0].swapaxes(2, 3),) * 2)
      cache = layer_cache.write(cache, new, before[..., None], None)
      query = layer_cache.attend(
        query, prompt, jnp.array([P]), cache, before, None, None
      )
      written.append(cache)
    return query, written, jnp.minimum(before + 1, S - 1)

  query = _full(1, N, 1, K, config.num_heads // K, D)
  return step, (query, caches, before), prompts


def _drawing(config, N) -> tuple[Any, ...]:
  """From logits as the product leaves them to tokens."""
  V = config.vocab_size
  stop = sampling.stop_rules(V)
  keys = jax.random.split(jax.random.key(0), (1, N))
  by_row = lambda fn: jax.vmap(jax.vmap(fn))

  def step(token, logits, of_prompt, keys, chosen):
    logits = jnp.moveaxis(logits, 0, -1)
    logits = jnp.where((token < 0)[..., None], of_prompt, logits)
    allowed = forbid_early_stops(stop, logits, token)
    keys = by_row(jax.random.fold_in)(keys, token)
    token, log_prob = by_row(draw)(keys, law(allowed, chosen))
    of_model = by_row(log_prob_of)(logits, token)
    return jnp.where(log_prob + of_model > 0, 0, token)

  logits = jax.random.normal(jax.random.key(1), (V, 1, N))
  chosen = without_idle_filters(sampling.SamplingParams())
  chosen = jax.tree.map(lambda x: jnp.full((1, N), x), chosen)
  first = jnp.zeros((1, N), jnp.int32)
  return step, first, logits, logits[:, :1, 0].T[None], keys, chosen


def _between(config, N) -> tuple[Any, ...]:
  """Norms, sums, rotations and activations, with no product between."""
  c = config
  scale, frequency = (
    jnp.ones(c.embed_dim),
    rope.frequencies(c.head_dim, c.rope_theta),
  )
  activation, made = ACTIVATIONS[c.activation], jax.lax.optimization_barrier

  def step(carry, query, key, gate, up):
    x, positions = carry

    def turned(heads, more):
      heads = (heads + more).reshape(1, N, 1, -1, c.head_dim)
      heads = made(rope.rotate(heads, positions, frequency))
      return heads[..., 0, :1]

    for _ in range(c.num_layers):
      h = made(rms_norm(x, scale, c.norm_eps))
      x = made(x + turned(query, h[..., :1]) + turned(key, h[..., :1]))
      h = made(rms_norm(x, scale, c.norm_eps))
      x = made(x + made(activation(gate + h[..., :1]) * up)[..., :1])
    return x, positions + 1

  of = lambda width: _full(1, N, 1, width)
  heads = (c.num_heads * c.head_dim, c.num_kv_heads * c.head_dim)
  carry = of(c.embed_dim), jnp.zeros((1, N, 1), jnp.int32)
  return step, carry, *map(of, (*heads, c.mlp_dim, c.mlp_dim))
