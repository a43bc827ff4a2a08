"""Votes that stop when the leader is sure (Aggarwal et al., 2023)."""

from ttc import search
from ttc.claims.claim import (
  Claim,
  curve,
  difference,
  interval,
  signed,
  standard_error,
  text,
)
from ttc.testbeds.calibrated import NUM_SAMPLES, base_samples
from ttc.types import Samples


def derive(data):
  """Votes of all samples, stopped votes, and as many as these use."""
  samples, gold = Samples(**data['samples']), data['gold']
  vote = lambda select, n: curve(select, samples, gold, [n])
  full = vote(search.majority_vote, NUM_SAMPLES)
  stopped = vote(search.beta_stopped_vote(0.95), NUM_SAMPLES)
  used = float(NUM_SAMPLES * stopped.tokens.mean() / full.tokens.mean())
  fixed = vote(search.majority_vote, round(used)).accuracy[:, 0]
  full, stopped = full.accuracy[:, 0], stopped.accuracy[:, 0]
  return {
    'stopped': stopped,
    'gap': difference(stopped, full),
    'error': standard_error(full),
    'used': used,
    'fixed': fixed,
  }


CLAIM = Claim(
  'adaptive_consistency, beta stop at .95',
  '2305.11860',
  f'the accuracy of majority@{NUM_SAMPLES} within 1 s.e. at fewer samples',
  base_samples,
  checks=[
    text(
      lambda d: (
        f'{interval(d["stopped"])}, {signed(d["gap"])} to '
        f'majority@{NUM_SAMPLES} (s.e. {100 * d["error"]:.2f}), with '
        f'{d["used"]:.1f} of {NUM_SAMPLES} samples'
      ),
      lambda d: abs(d['gap'].mean) <= d['error'] and d['used'] < NUM_SAMPLES,
    )
  ],
  controls=[
    text(
      lambda d: (
        f'majority@{round(d["used"])}, as many for every problem: '
        f'{interval(d["fixed"])}'
      )
    )
  ],
  derive=derive,
)
