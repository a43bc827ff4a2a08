"""The spec's oracle by hand, and what scores must not depend on."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc.benchmarks.chronomagic import (
  ch_score,
  mt_score,
  over_generations,
  render,
  score_file,
)


@pytest.fixture(scope='module')
def video():
  """Four points of which the first moves, and three that are lost."""
  tracks = jnp.zeros((6, 4, 2), jnp.float32)
  tracks = tracks.at[:, 0, 0].set(jnp.arange(6.0))
  visible = jnp.ones((6, 4), bool)
  for at in ((3, 1), (3, 0), (4, 2)):
    visible = visible.at[at].set(False)
  return tracks, visible


def test_coherence_by_hand(video):
  found = jax.jit(ch_score)(*video)
  # The moving point that is lost is forgiven; a static one has no direction.
  np.testing.assert_allclose(found.missing, [0, 0, 0, 0.25, 0.25, 0], atol=1e-7)
  d = np.array([0, 0, 0.25, 0, 0.25])
  np.testing.assert_allclose(
    found[2:], [1 / 12, d.std(ddof=1), 2 / 6, 2, 0.25], rtol=1e-5
  )
  np.testing.assert_allclose(1 / found.score, 0.189179, atol=1e-6)
  np.testing.assert_allclose(found.score, 5.285989, rtol=1e-5)


def test_what_coherence_does_not_depend_on(video):
  tracks, visible = video
  score = ch_score(tracks, visible).score
  for other in (
    (tracks * 3 + 7, visible),
    (tracks[:, ::-1], visible[:, ::-1]),
    (tracks[..., ::-1], visible),
    (tracks, visible.astype(jnp.float32)),
  ):
    np.testing.assert_allclose(ch_score(*other).score, score, 1e-5)
  # Lost while it moves back is not forgiven.
  back = tracks.at[4, 0, 0].set(-1.0)
  hidden = visible.at[4, 0].set(False)
  assert ch_score(back, hidden).missing[4] == 0.5
  whole = jnp.ones_like(visible)
  assert ch_score(tracks, whole).score == 0
  perfect = ch_score(tracks, whole, perfect_value=jnp.inf)
  assert perfect.score == jnp.inf


def test_amplitude_counts_what_is_among_the_largest():
  lapse = jnp.arange(10) >= 5
  p = jnp.array([0.3, 0.02, 0.02, 0.02, 0.04, 0.2, 0.1, 0.1, 0.15, 0.05])
  # 0.3, 0.2, 0.15, 0.1 and 0.1 are kept.
  np.testing.assert_allclose(mt_score(p, lapse), 0.55, rtol=1e-6)
  ordinary = mt_score(p, ~lapse)
  np.testing.assert_allclose(ordinary, 0.3, rtol=1e-6)
  even = jnp.full((2, 10), 0.1)
  np.testing.assert_allclose(mt_score(even, lapse), 0, atol=1e-6)
  np.testing.assert_allclose(mt_score(even, ~lapse), 0.5, 1e-6)
  mean, each = over_generations(jnp.array([[0.0, 1.0], [1.0, 1.0], [0.0, 0.0]]))
  assert mean == 0.5 and each.tolist() == [0.5, 1, 0]


def test_a_rendered_video_shows_its_tracks(video):
  tracks, visible = video
  tracks = 8 + 6 * tracks.at[:, 1:, 1].add(jnp.array([1.0, 3, 5]))
  frames = render(tracks, visible, 48)
  assert frames.shape == (6, 48, 48) and frames.max() <= 1
  for t, n in ((0, 0), (3, 2), (5, 3)):
    x, y = tracks[t, n].astype(int)
    assert frames[t, y, x] > 0.99
  x, y = tracks[3, 0].astype(int)
  assert frames[3, y, x] < 0.01  # hidden


def test_files_of_tracks_are_scored(tmp_path, video):
  tracks, visible = video
  path = tmp_path / 'tracks.jsonl'
  record = {
    'video_id': 'a',
    'generation': 0,
    'tracks': tracks.tolist(),
    'visibility': visible.astype(int).tolist(),
    'probabilities': [0.1] * 10,
  }
  path.write_text(
    json.dumps(record) + '\n' + json.dumps(record | {'video_id': 'b'}) + '\n'
  )
  rows = score_file(path)
  assert [x.video_id for x in rows] == ['a', 'b']
  assert rows[0].coherence == pytest.approx(5.285989, rel=1e-5)
  assert rows[0].amplitude == pytest.approx(0.0, abs=1e-6)
  for change, said in (
    ({'tracks': [[[0, 0]]]}, "'tracks' and 'visibility' have the shapes"),
    ({'probabilities': [0.5] * 3}, "'probabilities' has 3 numbers"),
    ({'probabilities': [1.5] + [0.0] * 9}, "'probabilities' is"),
    ({'probabilities': [math.nan] * 10}, "'probabilities' is"),
    ({'visibility': [[0.5] * 4] * 6}, "'visibility' has other values"),
    ({'tracks': [[[0, math.nan]] * 4] * 6}, "'tracks' has other values"),
    ({'video_id': ''}, "'video_id' is ''"),
  ):
    path.write_text(json.dumps(record | change) + '\n')
    with pytest.raises(ValueError, match=f'tracks.jsonl.*1.*{said}'):
      score_file(path)
