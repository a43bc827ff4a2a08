"""Multi-agent particle environments (Lowe et al., 2017, 1706.02275)."""

from ttc.envs.multi_agent.mpe.hidden_goal import simple_adversary, simple_push
from ttc.envs.multi_agent.mpe.navigation import simple, simple_spread
from ttc.envs.multi_agent.mpe.pursuit import simple_tag, simple_world_comm
from ttc.envs.multi_agent.mpe.signals import (
  simple_crypto,
  simple_reference,
  simple_speaker_listener,
)

__all__ = [
  'simple',
  'simple_adversary',
  'simple_crypto',
  'simple_push',
  'simple_reference',
  'simple_speaker_listener',
  'simple_spread',
  'simple_tag',
  'simple_world_comm',
]
