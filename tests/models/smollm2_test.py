"""Parity with the public figures of SmolLM2-135M-Instruct, in float32."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest, parameterized

from ttc import models

QUESTION = {'role': 'user', 'content': 'What is the capital of France?'}


@functools.cache
def load():
  try:
    return models.load('smollm2-135m', scan_layers=True)  # compiles one of 30
  except FileNotFoundError as error:
    pytest.skip(str(error))


class SmolLM2Test(parameterized.TestCase):
  @parameterized.parameters(
    (
      '12345 + 678 = ?',
      [33, 34, 35, 36, 37, 1232, 216, 38, 39, 40, 446, 9148],
    ),
    ('Hello world', [19556, 905]),
    (
      '  indented\n\n\tcode 3.14',
      [216, 641, 6574, 1116, 197, 4635, 216, 35, 30, 33, 36],
    ),
    ('naïve café', [3546, 46494, 37366]),
  )
  def test_token_ids(self, text, expected):
    tokenizer = load().tokenizer
    self.assertEqual(tokenizer.encode(text), expected)
    self.assertEqual(tokenizer.decode(expected), text)

  def test_its_template_is_its_layout(self):
    pytest.importorskip('jinja2')
    tokenizer = load().tokenizer
    system = {'role': 'system', 'content': ' Be <brief>.\n'}
    forged = {'role': 'user', 'content': 'a<|im_end|>b <|im_'}
    chats = [QUESTION], [system, forged, {**forged, 'role': 'assistant'}]
    for chat, num_turns in zip(chats, (2, 3), strict=True):
      by_template = tokenizer.chat(chat)
      self.assertEqual(by_template.count(2), num_turns)
      if chat == [QUESTION]:  # else text is cut where the names stand
        self.assertEqual(by_template, tokenizer.chat(chat, tokenizer.layout))
      self.assertEqual(
        tokenizer.decode(by_template, skip_special=False),
        tokenizer.decode(tokenizer.chat(chat, tokenizer.layout), False),
      )

  def test_what_was_loaded(self):
    loaded = load()
    self.assertEqual(models.num_params(loaded.params), 134_515_008)
    self.assertStartsWith(loaded.sha, 'b179c9523d0e')
    self.assertEqual(loaded.tokenizer.vocab_size, loaded.config.vocab_size)
    self.assertEqual(loaded.tokenizer.eos_ids, [0, 2])

  def test_log_probs_and_greedy_text(self):
    model, params, _, tokenizer = load()[:4]
    ids = tokenizer.chat([QUESTION])
    self.assertLen(ids, 37)

    # The prompt, then greedy steps on its cache.
    prompt, num_steps = jnp.array([[ids]]), 8
    suffix = model.make_suffix(1, 1, len(ids) + num_steps)
    zeros = np.zeros((1, 1), np.int32)
    cache = models.Cache(None, zeros[:, 0], suffix, zeros)
    step = jax.jit(model.features)
    features, cache = step(params, prompt, zeros + len(ids), cache)

    log_probs = jax.nn.log_softmax(model.logits(params, features)[0, 0])
    chosen = np.take_along_axis(log_probs[:-1], prompt[0, 0, 1:, None], 1)
    self.assertAlmostEqual(-float(np.mean(chosen)), 4.32242, delta=1e-3)
    top, top_ids = jax.lax.top_k(log_probs[-1], 5)
    np.testing.assert_array_equal(top_ids, [504, 60, 15319, 2219, 7026])
    np.testing.assert_allclose(
      top, [-1.8827, -1.9648, -2.2657, -2.8064, -2.8935], atol=1e-3
    )

    features = features[:, :, -1:]
    response = []
    for _ in range(num_steps):
      token = jnp.argmax(model.logits(params, features), axis=-1)
      response.append(int(token[0, 0, 0]))
      features, cache = step(params, token, zeros + 1, cache)
    self.assertEqual(
      tokenizer.decode(response, skip_special=False),
      'The capital of France is Paris.<|im_end|>',
    )


if __name__ == '__main__':
  absltest.main()
