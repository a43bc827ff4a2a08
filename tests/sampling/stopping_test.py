"""Stop rules from ids and from texts."""

import numpy as np
import pytest

from ttc import sampling


class Letters:
  """A tokenizer of single letters and of the piece 'b\\n'."""

  pieces = ('<end>', 'a', 'b', '\n', 'b\n', 'Q', ':')
  eos_ids = (0,)

  def ids_containing(self, text):
    return [i for i, piece in enumerate(self.pieces) if text in piece]

  def encode(self, text):
    return [self.pieces.index(letter) for letter in text]


def test_texts_stop_at_pieces_that_contain_them_and_at_their_tokens():
  rules = sampling.stop_at_texts(Letters(), 7, ['\n', 'Q:'], 2)
  np.testing.assert_array_equal(np.flatnonzero(rules.is_stop), [0, 3, 4])
  np.testing.assert_array_equal(rules.sequences, [[5, 6]])
  assert int(rules.min_tokens) == 2


def test_sequences_are_padded_on_the_left():
  rules = sampling.stop_rules(9, [1], [[3], [4, 5, 6]])
  np.testing.assert_array_equal(rules.sequences, [[-1, -1, 3], [4, 5, 6]])


def test_bad_ids_are_named():
  with pytest.raises(ValueError, match=r'stop ids \[-1, 9\] are outside'):
    sampling.stop_rules(9, [3, 9], [[-1]])
  with pytest.raises(ValueError, match='at least one token'):
    sampling.stop_rules(9, [], [[]])
