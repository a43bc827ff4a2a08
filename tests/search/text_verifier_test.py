"""A search steered by a verifier of another vocabulary.

The verifier scores the letter that it reads last, so what it says of the
policy's tokens is known without it.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc import models, search, verifiers
from ttc.types import Prompt
from ttc.verifiers import kinds, public, written

tokenizers = pytest.importorskip('tokenizers')


def codec(letters, control):
  backend = tokenizers.Tokenizer(
    tokenizers.models.BPE({x: i for i, x in enumerate(letters)}, [])
  )
  backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(
    add_prefix_space=False, use_regex=False
  )
  backend.decoder = tokenizers.decoders.ByteLevel()
  backend.add_special_tokens(control)
  return models.Tokenizer(backend)


@pytest.mark.slow
def test_a_beam_search_is_that_by_the_score_it_stands_for():
  policy, own = codec('abcq', ['<|im_end|>']), codec('xqcba', [])
  (eos,) = policy.eos_ids
  V = policy.vocab_size
  table = jax.random.normal(jax.random.key(0), (V, V)).at[:, 3].set(-jnp.inf)
  weights = {'a': 0.5, 'b': -1.0, 'c': 2.0}
  places = np.array([own.encode(letter)[0] for letter in weights])
  by_own = jnp.zeros(5).at[places].set(jnp.array([*weights.values()], float))
  kind = kinds.KINDS['token_classification']._replace(
    messages=[('text', '{problem}{steps}')], split='', step='{step}{read}'
  )
  verifier = public.Verifier(
    models.table_model(5),
    {'model': jnp.eye(5), 'head': {'kernel': by_own, 'bias': jnp.zeros(())}},
    written.Writer(kind, own),
    'letters',
  )
  by_text = verifiers.text_score_fn(
    verifier, policy, lambda ids: 'x' * len(ids), room=(4, 8, 1)
  )

  def by_hand(prompt, responses):
    letters = jnp.array([weights[x] for x in 'abc'] + [0.0, 0.0])
    is_letter = (responses.tokens != eos) & (
      jnp.arange(responses.tokens.shape[-1]) < responses.lengths[..., None]
    )
    count = jnp.sum(is_letter, axis=-1)
    last = jnp.maximum(count - 1, 0)[..., None]
    token = jnp.take_along_axis(responses.tokens, last, axis=-1)[..., 0]
    score = jax.nn.sigmoid(jnp.where(count > 0, letters[token], 0.0))
    return jnp.where(responses.lengths > 0, score, 0.0)

  prompt = Prompt(jnp.array([[3, 0], [3, 1]]), jnp.array([1, 2]))
  beam = {method.name: method for method in search.METHODS}['beam_search']
  answer = lambda prompt, responses: responses.tokens[..., 0]
  found = []
  for score_fn in (by_text, by_hand):
    setting = search.Setting(
      models.table_model(V), table, answer, score_fn, (eos,), 6, 6,
      max_step_tokens=1,
    )  # fmt: skip
    solve = jax.jit(
      lambda keys, s=setting: search.solve(beam, s, keys, prompt, 4)
    )
    found.append(solve(jax.random.split(jax.random.key(1), 2)))
  jax.tree.map(np.testing.assert_array_equal, *found)
