"""What selection rules find: a needle, and the mass of attention (Kinetics)."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from ttc.claims.claim import Checked, Claim, estimate, high, low, text
from ttc.kernels import block_topk
from ttc.kernels.block_sparse_attention import block_sparse_attention
from ttc.kernels.decode_attention import decode_attention
from ttc.kernels.partial_attention import Segment

KEYS, DIM, GROUP = 1024, 64, 4
NUM_SEQUENCES, BUDGET = 50, 128  # of a seed; tokens, an eighth of the keys
SHARED = 0.92  # correlation of the queries of a group with their common part
# Rule, block size: mass found at rho = .9 and at 0, of kernels.md section 2.
EXPECTED: dict[str, tuple[Any, ...]] = {
  'token oracle': (block_topk.oracle, 1, 0.92, 0.95),
  'block oracle': (block_topk.oracle, 16, 0.81, 0.65),
  'block top-k': (block_topk.mean_pool, 16, 0.73, 0.29),
  'Quest': (block_topk.quest, 16, 0.68, 0.19),
  'random blocks': (block_topk.random_blocks, 16, 0.12, 0.12),
  'sink + window': (block_topk.sink_window, 16, 0.09, 0.14),
}
CONTROLS = 'random blocks', 'sink + window'
PLACES = {'0.9': 2, '0.0': 3}  # of what is expected, by rho


def measure(seed, size, cache):
  """Mass that each rule finds, by rho and sequence; errors with a needle."""
  del cache
  num = size.problems(NUM_SEQUENCES)
  return {
    rho: {
      name: mass_found(rule, block_size, num, float(rho), seed)
      for name, (rule, block_size, *_) in EXPECTED.items()
    }
    for rho in PLACES
  } | {'needle': needle_errors(seed)}


def select(rule, block_size, num_blocks, query, keys):
  """Blocks by the scores alone; a window has none, and takes the last ones."""
  if rule is block_topk.sink_window:
    last = KEYS // block_size - jnp.arange(1, num_blocks)
    ids = jnp.append(0, last)
    return jnp.broadcast_to(ids, (*query.shape[:3], num_blocks))
  lengths = jnp.full(query.shape[:2], KEYS)
  blocks, real = block_topk.split_blocks(keys, lengths[:, :1], block_size)
  cached = block_topk.Cached(keys, rule.summarize(blocks, real), lengths)
  scores = rule.score(query, cached, block_size)
  combine = rule.combine or (lambda scores: scores[..., 0, :])
  scores = combine(scores)
  free = jnp.zeros(scores.shape, bool)
  return block_topk.select_blocks(scores, free, ~free, num_blocks)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def mass_found(rule, block_size, num_sequences, rho, seed):
  """Attention mass in the chosen blocks, of each sequence."""
  B = num_sequences
  key_key, own_key, common_key = jax.random.split(jax.random.key(seed), 3)
  noise = jax.random.normal(key_key, (KEYS, B, 1, DIM))
  own = jax.random.normal(own_key, (B, 1, 1, GROUP, DIM))
  common = jax.random.normal(common_key, (B, 1, 1, 1, DIM))
  query = 3 * (SHARED * common + (1 - SHARED**2) ** 0.5 * own)
  scale = jnp.sqrt(1 - jnp.square(rho))

  def step(key, eps):
    key = rho * key + scale * eps
    return key, key

  _, later = jax.lax.scan(step, noise[0], noise[1:])
  keys = jnp.moveaxis(jnp.concatenate([noise[:1], later]), 0, 2)
  ids = select(rule, block_size, BUDGET // block_size, query, keys)
  logits = jnp.einsum('bnkgd,bksd->bnkgs', query, keys) * DIM**-0.5
  chosen = jnp.any(jnp.arange(KEYS) // block_size == ids[..., None], axis=-2)
  share = jax.nn.softmax(logits, axis=-1) * chosen[:, :, :, None]
  return jnp.mean(jnp.sum(share, axis=-1), axis=(1, 2, 3))


@jax.jit
def needle_errors(seed):
  """Largest error of two chosen blocks, and of the first and last block."""
  q_key, k_key, v_key = jax.random.split(jax.random.key(100 + seed), 3)
  query = jax.random.normal(q_key, (1, 1, 1, 1, DIM))
  keys = 0.1 * jax.random.normal(k_key, (1, 1, KEYS, DIM))
  needle = 16 * query[0, 0, 0] / jnp.linalg.norm(query)
  segment = Segment(
    keys.at[0, 0, 480:496].set(needle),
    jax.random.normal(v_key, (1, 1, KEYS, DIM)),
  )
  lengths = jnp.full((1, 1), KEYS)
  dense, _ = decode_attention(query[:, 0], segment, lengths[:, 0])

  def error(ids):
    got, _ = block_sparse_attention(query, segment, lengths, ids, block_size=16)
    return jnp.max(jnp.abs(got[:, 0] - dense))

  chosen = select(block_topk.mean_pool, 16, 2, query, segment.k)
  near = error(jnp.array([[[[0, KEYS // 16 - 1]]]]))
  return {'found': error(chosen), 'missed': near}


def finds(name, rho):
  """A check: a rule finds the published share of the mass."""

  def check(data):
    expected = EXPECTED[name][PLACES[rho]]
    got = estimate(data[rho][name])
    return Checked(
      f'{name} {got.mean:.2f} [{low(got):.2f}, {high(got):.2f}] for '
      f'{expected:.2f} (rho {rho})',
      abs(float(got.mean) - expected) < 0.06,  # as the tests allow
    )

  return check


CLAIM = Claim(
  f'sparse_selection ({NUM_SEQUENCES} sequences of a seed, of {KEYS} keys, '
  f'{BUDGET} read)',
  '2506.05333',
  'on correlated keys pooled keys find most of the attention that whole blocks '
  'can hold; a needle is found with two blocks of 16',
  measure,
  checks=[
    finds(name, rho)
    for rho in PLACES
    for name in EXPECTED
    if name not in CONTROLS
  ]
  + [
    text(
      lambda d: (
        f'needle: largest error of two blocks {d["needle"]["found"].max():.1e}'
      ),
      lambda d: d['needle']['found'].max() < 1e-3,
    )
  ],
  controls=[finds(name, rho) for rho in PLACES for name in CONTROLS]
  + [
    text(
      lambda d: (
        'needle, sink and last block instead: error at least '
        f'{d["needle"]["missed"].min():.2f}'
      ),
      lambda d: d['needle']['missed'].min() > 0.1,
    )
  ],
)
