r"""Exact law of a loop that verifies and edits until the verifier accepts.

A content is in one of `K` states, such as its number of faults. A verification
accepts state `k` with probability `a_k`; a rejected content is edited, which
moves it from `j` to `k` with probability `E_jk`. Accepted states absorb, so

.. math:: x_t = x_0 \big(\mathrm{diag}(1 - a) E\big)^t

is the law of what is still open after `t` steps, and everything else is a sum
over it. Two states, right and wrong, are the model of OmniVerifier-TTS,
2510.13804; `two_state_refinement` has its parameters. For the loop itself see
`ttc.search.verifier_refinement`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num


class RefinementLaw(NamedTuple):
  """Where the loop is after its last step; a joint law over `K` states."""

  accepted: Float[Array, ' K']
  pending: Float[Array, ' K']  # edited by the last step, and not verified
  num_verifications: Float[Array, '']  # expected
  num_edits: Float[Array, '']  # expected


def refinement_law(
  initial: Num[Array, ' K'],
  accept: Num[Array, ' K'],
  edit: Num[Array, 'K K'],
  max_steps: int,
) -> RefinementLaw:
  """The law after up to `max_steps` verifications, each with its edit.

  Args:
    initial: law of the state of what is generated.
    accept: chance that the verifier accepts each state.
    edit: chance that an edit moves the row's state to the column's.
    max_steps: most verifications; static.

  Returns:
    A `RefinementLaw`; `accepted` and `pending` sum to 1 together. The content
    returned is right with the probability that the two give to right states.
  """

  def step(pending, _):
    rejected = pending * (1 - accept)
    return rejected @ edit, (pending * accept, pending, rejected)

  pending, (accepted, verified, rejected) = jax.lax.scan(
    step, jnp.asarray(initial, jnp.float32), length=max_steps
  )
  return RefinementLaw(
    accepted=jnp.sum(accepted, axis=0),
    pending=pending,
    num_verifications=jnp.sum(verified),
    num_edits=jnp.sum(rejected),
  )


def two_state_refinement(
  accuracy: Num[Array, ''] | float,
  fix: Num[Array, ''] | float,
  spoil: Num[Array, ''] | float,
  true_positive_rate: Num[Array, ''] | float,
  false_positive_rate: Num[Array, ''] | float,
  max_steps: int,
) -> RefinementLaw:
  r"""The law of two states: 0 is right, 1 is wrong.

  With a perfect verifier it is right with probability
  :math:`1 - (1 - p)(1 - f)^{t}` after `t` steps.

  Args:
    accuracy: `p`, chance that what is generated is right.
    fix: `f`, chance that an edit makes a wrong content right.
    spoil: chance that an edit makes a right content wrong, that was rejected.
    true_positive_rate: chance that a right content is accepted.
    false_positive_rate: chance that a wrong one is.
    max_steps: most verifications; static.

  Returns:
    A `RefinementLaw`.
  """
  return refinement_law(
    jnp.array([accuracy, 1 - accuracy]),
    jnp.array([true_positive_rate, false_positive_rate]),
    jnp.array([[1 - spoil, spoil], [fix, 1 - fix]]),
    max_steps,
  )
