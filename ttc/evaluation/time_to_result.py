r"""Time to a result: profiles and scores of the AlgoPerf protocol.

Dahl et al., 2023, "Benchmarking Neural Network Training Algorithms",
arXiv 2306.07179, sections 4 and 5. Whoever reaches a workload's target first
sets the pace, and every other one is judged by how many times longer it takes.
A target that is never reached takes infinite time, and infinite times take part
in everything. Times are in any unit: seconds, steps, tokens, FLOPs. Scores are
of a set of submissions and change with the set.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Num, Shaped


def time_to_target(
  times: Num[Array, ' evals'],
  values: Float[Array, '*A evals'],
  target: Float[Array, ''] | float,
  *,
  higher_is_better: bool = False,
) -> Float[Array, '*A']:
  """The time of the first evaluation that reaches a target.

  Args:
    times: of the evaluations, in order.
    values: what was measured; NaN reaches nothing.
    target: reached by a value that equals it.
    higher_is_better: of values.

  Returns:
    `inf` where no evaluation does.
  """
  reached = values >= target if higher_is_better else values <= target
  return jnp.min(jnp.where(reached, times, jnp.inf), axis=-1)


def time_of_studies(
  times: Float[Array, '*A studies trials'],
) -> Float[Array, '*A']:
  """The median over studies of the fastest of a study's trials.

  Of an even number of studies the mean of the two in the middle: `inf` if one
  of them is.
  """
  fastest = jnp.sort(jnp.min(times, axis=-1), axis=-1)
  middle = fastest.shape[-1] // 2
  if fastest.shape[-1] % 2:
    return fastest[..., middle]
  return 0.5 * (fastest[..., middle - 1] + fastest[..., middle])


def with_held_out(
  times: Float[Array, 'S W'], held_out: Float[Array, 'S W']
) -> Float[Array, 'S W']:
  """Times of workloads, those of which the held-out variant was reached too.

  Args:
    times: of the submissions on the workloads that they could be tuned on.
    held_out: on a variant of each of them.

  Returns:
    `times`, `inf` where the variant's is infinite.
  """
  return jnp.where(jnp.isfinite(held_out), times, jnp.inf)


def performance_ratios(
  times: Float[Array, 'S W'], max_ratio: float = 4.0
) -> Float[Array, 'S W']:
  r"""How many times longer than the fastest, :math:`r_{sw}` (section 5.1).

  Args:
    times: of `S` submissions on `W` workloads, `inf` where a target is missed.
    max_ratio: beyond which a target counts as missed.

  Returns:
    At least 1; `inf` where a target counts as missed, and for all on a workload
    that nobody solves.

  Raises:
    ValueError: on times that are not positive, or a ratio that is not above 1.
  """
  if not max_ratio > 1:
    raise ValueError(f'max_ratio={max_ratio}, expected more than 1')
  wrong = ~(np.asarray(times) > 0)  # also NaN
  if wrong.any():
    where = np.argwhere(wrong)[0].tolist()
    raise ValueError(
      f'times{where}={np.asarray(times)[wrong][0]}, expected positive numbers '
      'or inf'
    )
  fastest = jnp.min(times, axis=0)
  solved = jnp.isfinite(fastest)
  ratios = times / jnp.where(solved, fastest, 1.0)
  return jnp.where(solved & (ratios <= max_ratio), ratios, jnp.inf)


def performance_profile(
  ratios: Float[Array, 'S W'], taus: Float[Array, ' n']
) -> Float[Array, 'S n']:
  r"""Share of workloads solved within `tau` times the fastest time.

  .. math:: \rho_s(\tau) = |\{w : r_{sw} \le \tau\}| / W
  """
  return jnp.mean(ratios[:, None] <= taus[None, :, None], axis=-1)


def algoperf_score(
  times: Float[Array, 'S W'], max_ratio: float = 4.0
) -> Float[Array, ' S']:
  r"""The mean of the performance profile up to `max_ratio` (section 5.2).

  .. math::
    B_s = \frac{1}{r_{max} - 1} \int_1^{r_{max}} \rho_s(\tau) d\tau
      = \frac1W \sum_w \max(0, \frac{r_{max} - r_{sw}}{r_{max} - 1})

  The sum is exact; the public code has the integral by 100 trapezoids, some
  1e-3 beside it.

  Args:
    times: of `S` submissions on `W` workloads, `inf` where a target is missed.
    max_ratio: a workload solved so many times later than by the fastest earns
      nothing; the protocol's is 4.

  Returns:
    In [0, 1], higher is better; a workload that nobody solves is 0 for all.

  Raises:
    ValueError: as `performance_ratios`.
  """
  ratios = performance_ratios(times, max_ratio)
  earned = jnp.maximum(0.0, (max_ratio - ratios) / (max_ratio - 1))
  return jnp.mean(earned, axis=1)


def geometric_speedup(
  times: Float[Array, ' W'], reference: Float[Array, ' W']
) -> tuple[Float[Array, ''], Bool[Array, ' W']]:
  """How many times faster than a reference, geometric mean over workloads.

  Args:
    times: of a submission.
    reference: of another one.

  Returns:
    The mean over workloads that both solve, NaN if there is none, and which
    these are. Others have no ratio: tell how many there are.
  """
  both = jnp.isfinite(times) & jnp.isfinite(reference)
  logs = jnp.where(both, jnp.log(reference) - jnp.log(times), 0.0)
  return jnp.exp(jnp.sum(logs) / jnp.sum(both)), both


def median_target(
  best: Shaped[Array, ' reruns'], *, higher_is_better: bool = False
) -> Float[Array, '']:
  """A workload's target: the median of what reruns of the best trial reach.

  Section 4.3: of 200 trials of each target-setting algorithm the best one is
  run again with 20 seeds. With an even number the worse one of the two in the
  middle, so that half of the reruns reach it.
  """
  ordered = jnp.sort(best)
  middle = best.shape[0] // 2
  return ordered[(best.shape[0] - 1) // 2 if higher_is_better else middle]
