r"""Policy gradients: REINFORCE and A2C.

.. math:: \Delta\theta \propto E[\nabla \log \pi_\theta(a | s) \hat A]

with returns (Williams, 1992) or generalised advantages (Mnih et al., 2016,
1602.01783) in the place of :math:`\hat A`. What learned rules are compared
with, and the antagonists of `level_replay`. Cost: one backward pass.
"""

from ttc.agents.ppo import advantages
from ttc.metarl.rules.interface import UpdateRule, mean_over


def pg() -> UpdateRule:
  """REINFORCE: what follows in the rollout, discounted, without a critic.

  Uses `discount` and `entropy_weight` of an agent's numbers.
  """

  def targets(meta, memory, experience, lifetime, hyper):
    del meta, lifetime
    returns = advantages(
      experience.rollout, experience.last.value, hyper.discount, 1.0
    )
    return returns, memory

  return UpdateRule('pg', targets, _loss, has_critic=False)


def a2c() -> UpdateRule:
  """Advantage actor-critic.

  Uses `discount`, `trace`, `entropy_weight` and `value_weight`.
  """

  def targets(meta, memory, experience, lifetime, hyper):
    del meta, lifetime
    return advantages(
      experience.rollout, experience.last.value, hyper.discount, hyper.trace
    ), memory

  return UpdateRule('a2c', targets, _loss)


def _loss(meta, outputs, batch, lifetime, hyper):
  """Values, where there are any, are fitted to advantage plus old value."""
  del meta, lifetime
  rollout, advantage = batch
  mean = mean_over(rollout)
  policy_loss = -mean(outputs.law.log_prob(rollout.action) * advantage)
  entropy = mean(outputs.law.entropy())
  wanted = rollout.kept.value + advantage
  value_loss = 0.5 * mean((outputs.value - wanted) ** 2)
  loss = (
    policy_loss
    + hyper.value_weight * value_loss
    - hyper.entropy_weight * entropy
  )
  return loss, {
    'policy_loss': policy_loss,
    'value_loss': value_loss,
    'entropy': entropy,
  }
