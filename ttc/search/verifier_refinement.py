"""Sequential verifier refinement: edit what the verifier finds until it is ok.

OmniVerifier-TTS, 2510.13804, as a method of search over responses: each attempt
sees the one before. The loop itself, which images share, is
`ttc.sampling.refinement_loop`.
"""

import jax.numpy as jnp
from jaxtyping import Array, Int, Key

from ttc.sampling.refinement_loop import (
  Refinement,
  Verdict,
  verifier_refinement,
)
from ttc.search.base import Method, run_all
from ttc.search.revisions import decode_chains
from ttc.search.setting import Setting
from ttc.types import Prompt, Samples, Selection

__all__ = ['METHOD', 'Refinement', 'Verdict', 'verifier_refinement']


def _decode(
  setting: Setting, keys: Key[Array, ' B'], prompt: Prompt, num_samples: int
) -> Selection:
  """One chain of revisions, up to the first that scores at least 1/2."""
  is_accepted = lambda prompt, attempts: (
    setting.score_fn(prompt, attempts) >= 0.5
  )
  return decode_chains(
    setting, keys, prompt, 1, num_samples, _last_written, is_accepted
  )


def _last_written(samples: Samples, n: Int[Array, '']) -> Selection:
  """Of the attempts of one chain, the one behind which nothing was written."""
  place = jnp.arange(samples.lengths.size)
  last = jnp.max(jnp.where(samples.lengths > 0, place, 0))
  selection = run_all(samples, n, samples.answers[last])
  return selection._replace(depth=selection.tokens)


METHOD = Method(
  name='verifier_refinement',
  title='verifier refinement',
  file='search/verifier_refinement.py',
  paper='2510.13804',
  cost='E[k] T, k <= N',
  what='sequential',
  how=('stimulation', 'verification'),
  decode=_decode,
  needs='revise',
)
