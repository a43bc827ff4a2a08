"""Votes that stop when the leader is sure (Aggarwal et al., 2023)."""

from claims.calibrated_world import NUM_SAMPLES, base_samples
from claims.row import Row, curve, difference, interval, signed, standard_error
from ttc import search


def reproduce(num_seeds: int) -> Row:
  """Stopping at confidence 0.95 keeps the accuracy with fewer samples."""
  samples, gold = base_samples(num_seeds)
  full = curve(search.majority_vote, samples, gold, [NUM_SAMPLES])
  stopped = curve(search.beta_stopped_vote(0.95), samples, gold, [NUM_SAMPLES])
  gap = difference(stopped.accuracy[:, 0], full.accuracy[:, 0])
  used = NUM_SAMPLES * stopped.tokens.mean() / full.tokens.mean()
  few = round(float(used))
  fixed = curve(search.majority_vote, samples, gold, [few]).accuracy[:, 0]
  error = standard_error(full.accuracy[:, 0])
  return Row(
    'adaptive_consistency, beta stop at .95',
    f'the accuracy of majority@{NUM_SAMPLES} within 1 s.e. at fewer samples',
    f'{interval(stopped.accuracy[:, 0])}, {signed(gap)} to '
    f'majority@{NUM_SAMPLES} (s.e. {100 * error:.2f}), with {used:.1f} of '
    f'{NUM_SAMPLES} samples',
    f'majority@{few}, as many for every problem: {interval(fixed)}',
    bool(abs(gap.mean) <= error and used < NUM_SAMPLES),
  )
