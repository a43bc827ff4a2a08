"""What the prices of Kinetics alone say of the paper's claims."""

from claims.row import Row
from ttc.scaling import kinetics_claims


def reproduce(num_seeds: int) -> Row:
  """The claims that follow from the formulas; nothing is random."""
  del num_seeds
  claims = [check() for check in kinetics_claims.CLAIMS]
  join = lambda field: '; '.join(getattr(claim, field) for claim in claims)
  return Row(
    'kinetics (cost model, Qwen3 cards, B200)',
    join('claim'),
    join('figure'),
    join('control'),
    all(claim.holds for claim in claims),
  )
