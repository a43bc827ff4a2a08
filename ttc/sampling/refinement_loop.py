"""The loop of verifying and editing: until all is accepted, or time is up.

OmniVerifier-TTS, 2510.13804. A generator writes a draft; a verifier accepts it
or says what to edit; an editor does so; and again, up to a number of times.
What is written may be any pytree: an image, a grid of tokens, a response. Costs
one generation and at most `K` verifications and edits, all in sequence; it
beats best-of-`K` where an edit mostly repairs what is wrong and the verifier
seldom accepts what is. `ttc.scaling.refinement_law` gives its accuracy.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

Content = Any  # a pytree with leaves `[B, ...]`


class Verdict(NamedTuple):
  """What the verifier says of `B` contents.

  An answer of the verifier that cannot be read is not accepted, and its advice
  should be to change nothing.
  """

  accepted: Bool[Array, ' B']
  scores: Float[Array, ' B']  # higher is better
  advice: Any  # for the editor, a pytree with leaves `[B, ...]`


class Refinement(NamedTuple):
  """What came of `B` problems."""

  content: Content
  accepted: Bool[Array, ' B']
  num_verifications: Int[Array, ' B']
  num_edits: Int[Array, ' B']


def verifier_refinement(
  keys: Key[Array, ' B'],
  generate_fn: Callable[[Key[Array, ' B']], Content],
  verify_fn: Callable[[Key[Array, ' B'], Content], Verdict],
  edit_fn: Callable[[Key[Array, ' B'], Content, Any], Content],
  max_steps: int | Int[Array, ''] = 10,
  *,
  fallback: Literal['last', 'best'] = 'last',
) -> Refinement:
  """Generates, then verifies and edits until all are accepted.

  Args:
    keys: `[B]`, one per problem; consumed.
    generate_fn: `keys -> content`.
    verify_fn: `(keys, content) -> Verdict`.
    edit_fn: `(keys, content, advice) -> content`.
    max_steps: `K`, most verifications, each of them followed by an edit unless
      it accepts; 10 in the paper. Traced.
    fallback: what to return where nothing was accepted: the last edit, which
      nobody has verified, or the best scored content. Static.

  Returns:
    A `Refinement`. An accepted content is not changed any more, whatever goes
    on in the rest of the batch.
  """
  fold_in = jax.vmap(jax.random.fold_in, in_axes=(0, None))
  content = generate_fn(fold_in(keys, 0))
  count = jnp.zeros(keys.shape, jnp.int32)
  start = _Loop(
    now=Refinement(content, jnp.zeros(keys.shape, bool), count, count),
    best=content,
    best_scores=jnp.full(keys.shape, -jnp.inf),
    step=jnp.int32(0),
  )

  def body(loop):
    now = loop.now
    verdict = verify_fn(fold_in(keys, 1 + 2 * loop.step), now.content)
    edited = edit_fn(
      fold_in(keys, 2 + 2 * loop.step), now.content, verdict.advice
    )
    accepted = now.accepted | verdict.accepted
    better = ~now.accepted & (
      verdict.accepted | (verdict.scores > loop.best_scores)
    )
    return _Loop(
      now=Refinement(
        content=_choose(accepted, now.content, edited),
        accepted=accepted,
        num_verifications=now.num_verifications + ~now.accepted,
        num_edits=now.num_edits + ~accepted,
      ),
      best=_choose(better, now.content, loop.best),
      best_scores=jnp.where(better, verdict.scores, loop.best_scores),
      step=loop.step + 1,
    )

  goes_on = lambda s: (s.step < max_steps) & jnp.any(~s.now.accepted)
  loop = jax.lax.while_loop(goes_on, body, start)
  if fallback == 'last':
    return loop.now
  return loop.now._replace(content=loop.best)


class _Loop(NamedTuple):
  """What a step changes."""

  now: Refinement
  best: Content  # of those verified
  best_scores: Float[Array, ' B']
  step: Int[Array, '']


def _choose(mask: Bool[Array, ' B'], new: Content, old: Content) -> Content:
  """`new` where `mask`, else `old`, leaf by leaf."""
  along = lambda leaf: mask.reshape(mask.shape + (1,) * (leaf.ndim - 1))
  return jax.tree.map(lambda x, y: jnp.where(along(x), x, y), new, old)
