"""What the prices of Kinetics alone say of the paper's claims."""

from ttc.claims.claim import Checked, Claim
from ttc.scaling import kinetics_claims

_CHECKED = [check() for check in kinetics_claims.CLAIMS]

CLAIM = Claim(
  'kinetics (cost model, Qwen3 cards, B200)',
  '2506.05333',
  '; '.join(claim.claim for claim in _CHECKED),
  lambda seed, size, cache: {},  # nothing is random
  checks=[
    lambda _, claim=claim: Checked(claim.figure, claim.holds)
    for claim in _CHECKED
  ],
  controls=[
    lambda _, claim=claim: Checked(claim.control) for claim in _CHECKED
  ],
  seeds=(0,),
)
