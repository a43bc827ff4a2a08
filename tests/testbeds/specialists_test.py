"""Specialists: who learns which words, and what is asked of all."""

import functools

import jax
import numpy as np
import pytest

from ttc.testbeds.specialists import BANDS, draw_problems, sequence
from ttc.testbeds.three_sizes import TASK


@pytest.mark.parametrize('name', BANDS)
def test_a_specialist_learns_words_of_its_lengths(name):
  low, high = BANDS[name]
  draw = functools.partial(sequence, low, high)
  tokens, learned = jax.jit(jax.vmap(draw))(
    jax.random.split(jax.random.key(1), 256)
  )
  # A product for each factor, and the end.
  lengths = np.asarray(learned.sum(axis=1)) - 1
  none = lengths < 0
  assert set(lengths[~none]) == set(range(low, high + 1))
  # Two of three words are of another band, each of eight candidates.
  chance = (2 / 3) ** 8
  assert abs(none.mean() - chance) < 4 * (chance / 256) ** 0.5
  assert (np.asarray(tokens)[np.asarray(learned)] != TASK.pad_id).all()


def test_as_many_words_of_each_band_are_asked_in_turn():
  problems = draw_problems(jax.random.key(2), 8)
  lengths = np.asarray(problems.data.num_steps).reshape(8, len(BANDS))
  for band, (low, high) in zip(lengths.T, BANDS.values(), strict=True):
    assert ((band >= low) & (band <= high)).all()
  # Halves of even and odd places, of search and measure, have all bands.
  for half in (lengths.ravel()[::2], lengths.ravel()[1::2]):
    assert [np.sum((half >= a) & (half <= b)) for a, b in BANDS.values()] == [
      4
    ] * 3
