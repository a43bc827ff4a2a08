"""What papers claim, at small scale, each beside its control.

A claim is a module of a room, named after its system, with a value `CLAIM`. It
is imported when it is asked for.
"""

import importlib
import pathlib
from collections.abc import Sequence

from ttc.claims.claim import Check, Checked, Claim, Verdict, judge, pool

ROOMS = {
  'sampling': ('calibrated_base', 'speculative'),
  'search': (
    'adaptive_consistency',
    'atom_of_thoughts',
    'atts',
    'bag_of_tricks',
    'beam_search',
    'best_of_n',
    'budget_forcing',
    'concept_memory',
    'conformal',
    'first_finish_search',
    'generative_retrieval',
    'humaneval_selection',
    'hybrid_selection',
    'iterative_deepening',
    'mcts',
    'medprompt',
    'medprompt_exemplars',
    'over_optimization',
    'post_editing',
    'qalign',
    'revisions',
    'rpc',
    'self_consistency',
    'trained_revisions',
    'verifier_refinement',
  ),
  'verifiers': ('genrm', 'trained_verifier'),
  'scaling': (
    'compute_optimal',
    'flops_exchange',
    'kinetics',
    'kinetics_frontier',
    'plateau',
    'scaling_fit',
    'three_axes',
    'verification_budget',
  ),
  'strategies': (
    'agent_reinforce',
    'agent_tts',
    'archive',
    'archon',
    'archon_live',
  ),
  'finetuning': (
    'dco',
    'masa',
    'meta_rater',
    'mrt',
    'perk',
    'policy_gradients',
    'soft_cot',
    'timo',
    'tti',
    'tti_thinking',
    'verifier_based',
    'wrong_lengths',
  ),
  'kernels': ('sparse_recall', 'sparse_selection'),
  'models': ('sparse_smollm2',),
  'evaluation': ('arise', 'result_times'),
  'benchmarks': (
    'answer_forms',
    'attempted_answers',
    'carried_errors',
    'coherent_videos',
    'consistent_answers',
    'decontamination',
    'dependent_tasks',
    'dyval',
    'efficient_at_k',
    'filled_tables',
    'filtered_tests',
    'long_texts',
    'mapped_tests',
    'meta_critique',
    'meta_probing',
    'mr_gsm8k',
    'mutation_scores',
    'parallel_forms',
    'ranked_choices',
    'repaired_tests',
    'smollm2_benchmarks',
    'tracked_points',
    'ts_guessing',
    'yourbench',
  ),
  'metarl': (
    'active_learning',
    'dpo',
    'lpg_bandits',
    'lpg_grid_worlds',
    'maml',
    'meta_dt',
    'meta_rtl',
    'noisy_quadratic',
    'rl2',
    'stabilization',
    'ta_lpo',
  ),
  'incontext': ('braincorl', 'gpicl', 'gpicl_images', 'gpicl_memories'),
  'adaptation': (
    'adanpc',
    'adapted_streams',
    'continual_rounds',
    'ecotta',
    'itta',
    'label_shift',
    'mean_teachers',
    'meta_dmoe',
  ),
  'diffusion': (
    'evosearch',
    'fk_steering',
    'over_steering',
    'sequential_refinement',
    'useless_verifier',
    'video_t1',
  ),
  'experts': ('c3po', 'rewiring'),
  'agents': (
    'coin_game',
    'hanabi',
    'overcooked',
    'simple_spread',
    'smax',
    'switch_riddle',
    'two_step_game',
  ),
}
NAMES = tuple(sorted(name for names in ROOMS.values() for name in names))

__all__ = [
  'NAMES',
  'ROOMS',
  'Check',
  'Checked',
  'Claim',
  'Verdict',
  'chosen',
  'judge',
  'load',
  'pool',
  'room_of',
  'source',
]


def room_of(name: str) -> str:
  """The room that a claim is in.

  Raises:
    ValueError: if there is no such claim.
  """
  for room, names in ROOMS.items():
    if name in names:
      return room
  raise ValueError(f'claim {name!r} is not one of {", ".join(NAMES)}')


def load(name: str) -> Claim:
  """Imports a claim."""
  return importlib.import_module(f'ttc.claims.{room_of(name)}.{name}').CLAIM


def source(name: str) -> pathlib.Path:
  """The file of a claim."""
  return pathlib.Path(__file__).parent / room_of(name) / f'{name}.py'


def chosen(claims: Sequence[str], room: str | None = None) -> list[str]:
  """Names of claims that were asked for, 'all' among them, in a room or all.

  Raises:
    ValueError: if a name or the room is not known.
  """
  if room is not None and room not in ROOMS:
    raise ValueError(f'room {room!r} is not one of {", ".join(ROOMS)}')
  for name in claims:
    if name != 'all':
      room_of(name)
  names = NAMES if 'all' in claims else claims
  return [name for name in names if room in (None, room_of(name))]
