"""Archon among the methods: one architecture over the samples of one policy.

Saad-Falcon et al., 2409.15254. A plain one of three layers: drafts; those that
the verifier does not believe are dropped; what is left is fused, by a fuser so
sharp that it takes the majority. Costs `N T` generated tokens and `N` calls of
the verifier, whose scores are taken for probabilities.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from ttc.search.base import Method
from ttc.strategies.architecture import (
  Architecture,
  Fuse,
  Generate,
  Verify,
  check,
  encode,
  run,
)
from ttc.strategies.layers import Drafts, Operators
from ttc.types import Samples, SelectFn, Selection

VERIFIED_VOTE: Architecture = (Generate((1,)), Verify(0.5), Fuse(1))

_FREE = Operators(0, 0, 0, 0, 0, 0, sharpness=100.0)  # operators of no tokens


def by_architecture(architecture: Architecture) -> SelectFn:
  """An architecture as a function of samples of one policy.

  Args:
    architecture: its generator gives all the samples that may be looked at,
      whatever number it names. Ranker, verifier and critic go by the scores,
      which are probabilities of being right; unit tests pass everywhere.

  Returns:
    The method.
  """
  check(architecture)

  def select(samples: Samples, n: Int[Array, '']) -> Selection:
    nobody = jnp.zeros_like(samples.lengths)
    drafts = Drafts(
      answers=samples.answers,
      tokens=samples.lengths,
      models=nobody,
      places=jnp.arange(nobody.size),
      ranking=samples.scores,
      criticism=jnp.log(samples.scores) - jnp.log1p(-samples.scores),
      beliefs=samples.scores,
      passed=jnp.ones((nobody.size, 1), bool),
    )
    plan = encode(architecture, num_models=1, max_layers=len(architecture))
    amounts = plan.amounts.at[0, 0].set(n.astype(jnp.float32))
    # One answer is far ahead of the others, or they are as good as each other.
    key = jax.random.key(0)
    chosen = run(plan._replace(amounts=amounts), key, drafts, _FREE)
    looked_at = jnp.arange(nobody.size) < n
    unknown = jnp.sum(looked_at & jnp.isnan(samples.scores))
    return chosen._replace(nan_scores=unknown)

  return select


METHOD = Method(
  name='archon',
  title='Archon: verify, fuse',
  file='strategies/archon.py',
  paper='2409.15254',
  cost='N T',
  what='parallel',
  how=('verification', 'aggregation'),
  select=by_architecture(VERIFIED_VOTE),
)
