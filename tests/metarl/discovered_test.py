"""Learned rules as files."""

import jax
import numpy as np
import pytest

from ttc import envs, metarl
from ttc.io.arrays import write_arrays

OPTIONS = {'width': 6, 'num_predictions': 3}


def saved(path):
  params = jax.jit(metarl.ta_lpg(**OPTIONS).init)(jax.random.key(0))
  metarl.save_rule(path, 'ta_lpg', OPTIONS, params, {'seed': 0})
  return params


def test_a_rule_comes_back(tmp_path):
  params = saved(tmp_path / 'rule.npz')
  found = metarl.load_rule(tmp_path / 'rule.npz')
  assert found.rule.name == 'ta_lpg'
  assert found.about == {'seed': 0}
  for a, b in zip(
    jax.tree.leaves(found.params), jax.tree.leaves(params), strict=True
  ):
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6)  # of 16 bits


@pytest.mark.parametrize('name', metarl.rule_names())
def test_every_rule_of_the_package_teaches(name):
  found = metarl.load_rule(name)
  assert {'command', 'seed', 'seconds'} <= set(found.about)
  agent = metarl.learner(
    envs.matrix_game(), found.rule, found.params, 3, metarl.tabular_agent(2, 2)
  )
  state, told = metarl.live(agent, jax.random.key(0), 3, 3)
  assert np.isfinite(told['entropy']).all()
  assert int(state.updates) == 3


def test_what_is_no_rule_is_refused(tmp_path):
  with pytest.raises(ValueError, match=r"'nothing' is not known; there are"):
    metarl.load_rule('nothing')
  with pytest.raises(ValueError, match='no such file'):
    metarl.load_rule(tmp_path / 'missing.npz')
  write_arrays(tmp_path / 'other.npz', {'a': np.zeros(2)})
  with pytest.raises(ValueError, match='not a saved rule'):
    metarl.load_rule(tmp_path / 'other.npz')
  params = saved(tmp_path / 'rule.npz')
  metarl.save_rule(tmp_path / 'rule.npz', 'lpg', OPTIONS, params, {})
  with pytest.raises(ValueError, match=r'shapes .* expected'):
    metarl.load_rule(tmp_path / 'rule.npz')
  with pytest.raises(
    ValueError, match="rule 'ppo' is not known; there are lpg"
  ):
    metarl.make_rule('ppo', {})
