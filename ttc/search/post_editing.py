"""Post-editing: write a draft, then edit it, told how good it is or not.

A finding on machine translation, 2510.06471: a model that is forced to think
beyond its own end gets worse, one that edits its draft gets better. A draft and
its edit are a chain of two revisions, of which the edit is the answer. Costs
`2 T` generated tokens, all in sequence, and one call of a quality estimator if
the draft's quality is written behind it.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from ttc.search.base import Method
from ttc.search.revisions import FeedbackFn, chain_vote, decode_chains
from ttc.search.setting import Setting
from ttc.types import Prompt, ScoreFn, Selection


def quality_feedback(
  score_fn: ScoreFn,
  texts: Sequence[Sequence[int]],
  thresholds: Sequence[float],
) -> FeedbackFn:
  """Tells a draft's quality: `texts[i]` if its score reaches `i` thresholds.

  Args:
    score_fn: the quality estimator.
    texts: what is written behind a draft, from worst to best.
    thresholds: increasing, one less than texts.

  Returns:
    A `FeedbackFn` for `revisions` of depth 2.

  Raises:
    ValueError: unless the numbers of texts and thresholds agree.
  """
  if len(texts) != len(thresholds) + 1:
    raise ValueError(
      f'{len(thresholds)} thresholds need {len(thresholds) + 1} texts, '
      f'got {len(texts)}'
    )
  width = max(len(text) for text in texts)
  table = np.zeros((len(texts), width), np.int32)
  for row, text in zip(table, texts, strict=True):
    row[: len(text)] = text
  lengths = jnp.array([len(text) for text in texts])

  def feedback_fn(prompt, attempts):
    scores = score_fn(prompt, attempts)[..., None]
    level = jnp.sum(scores >= jnp.asarray(thresholds), axis=-1)
    return jnp.asarray(table)[level], lengths[level]

  return feedback_fn


def _decode(
  setting: Setting, keys: Key[Array, ' B'], prompt: Prompt, num_samples: int
) -> Selection:
  """`N / 2` edited drafts vote; one response is a draft."""
  depth = min(num_samples, 2)
  select = chain_vote(depth, weighted=False, last_only=True)
  chosen = decode_chains(
    setting, keys, prompt, num_samples // depth, depth, select
  )
  return chosen._replace(verifier_calls=jnp.zeros_like(chosen.tokens))


METHOD = Method(
  name='post_editing',
  title='post-editing',
  file='search/post_editing.py',
  paper='2510.06471',
  cost='2 T',
  what='sequential',
  how=('stimulation',),
  decode=_decode,
  needs='revise',
)
