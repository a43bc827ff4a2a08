"""Search: methods that spend test-time compute on samples, one per file.

`METHODS` lists what each of them declares of itself; a new method is a new file
and a line here.
"""

from ttc.search import atom_of_thoughts as _atom_of_thoughts
from ttc.search import atts as _atts
from ttc.search import beam_search as _beam_search
from ttc.search import best_of_n as _best_of_n
from ttc.search import budget_forcing as _budget_forcing
from ttc.search import dvts as _dvts
from ttc.search import execution_selection as _execution_selection
from ttc.search import first_finish_search as _first_finish_search
from ttc.search import generative_verification as _generative_verification
from ttc.search import iterative_deepening as _iterative_deepening
from ttc.search import lookahead_search as _lookahead_search
from ttc.search import mcts as _mcts
from ttc.search import post_editing as _post_editing
from ttc.search import qalign as _qalign
from ttc.search import revisions as _revisions
from ttc.search import rpc as _rpc
from ttc.search import self_consistency as _self_consistency
from ttc.search import verifier_refinement as _verifier_refinement
from ttc.search import weighted_best_of_n as _weighted_best_of_n
from ttc.search.atom_of_thoughts import (
  Answered,
  AtomOutput,
  Contraction,
  SolveFn,
  atom_of_thoughts,
  best_contraction,
  contract_question,
  first_agreeing,
  sampling_solver,
)
from ttc.search.atts import AttsOutput, atts, turn_perplexity
from ttc.search.base import Method, observe, select_each, tally, winner
from ttc.search.beam_search import beam_search
from ttc.search.best_of_n import BestOfNOutput, best_of_n, select_best
from ttc.search.budget_forcing import budget_forcing
from ttc.search.concept_memory import (
  ConceptMemory,
  Retrieved,
  add_concepts,
  empty_memory,
  retrieve_concepts,
  subprograms,
  tokens_saved,
)
from ttc.search.conformal import (
  Calibration,
  append_scores,
  calibrate,
  conformal_rank,
  p_value,
  p_value_test,
  p_value_test_rate,
  rank_test,
  rank_test_rate,
  rejection_threshold,
)
from ttc.search.dvts import dvts
from ttc.search.execution_selection import (
  Verdicts,
  best_at_k,
  execution_based,
  execution_free,
  hybrid_selection,
  mean_correct,
  most_votes,
  telling_inputs,
  test_votes,
  top_voted,
)
from ttc.search.first_finish_search import (
  first_finish_search,
  longest_vote,
  shortest_vote,
)
from ttc.search.iterative_deepening import (
  deepening_budgets,
  iterative_deepening,
)
from ttc.search.lookahead_search import lookahead_search
from ttc.search.mcts import MctsOutput, Tree, mcts, select_visited
from ttc.search.medprompt import (
  AskFn,
  ChoiceShuffleOutput,
  GeneratedChains,
  choice_shuffle,
  nearest_exemplars,
  relabel_options,
  self_generated_chains,
)
from ttc.search.post_editing import quality_feedback
from ttc.search.qalign import Chains, QAlignOutput, qalign
from ttc.search.question_graph import (
  Atoms,
  QuestionGraph,
  graph_depth,
  is_independent,
  is_needed,
)
from ttc.search.rerank import Ranking, rerank
from ttc.search.revisions import (
  FeedbackFn,
  chain_vote,
  fixed_feedback,
  revisions,
)
from ttc.search.rpc import (
  answer_shares,
  confidence_vote,
  lowest_perplexity,
  perplexity_consistency,
  rpc,
  split_accuracy,
)
from ttc.search.self_consistency import (
  SelfConsistencyOutput,
  beta_confidence,
  beta_stop,
  beta_stopped_vote,
  majority_vote,
  self_consistency,
  weighted_vote,
)
from ttc.search.setting import Setting, TextEnds, Thinking, solve
from ttc.search.step_search import (
  StepSampler,
  StepSearchOutput,
  select_leaf,
  step_search,
)
from ttc.search.text_answers import TextAnswers, TextTask
from ttc.search.text_setting import prompt_tokens, text_setting_fn
from ttc.search.trie_beam_search import (
  RetrievalOutput,
  Trie,
  build_trie,
  trie_beam_search,
)
from ttc.search.verifier_refinement import (
  Refinement,
  Verdict,
  verifier_refinement,
)
from ttc.search.weibull_mixture import fit_weibull_mixture
from ttc.search.weighted_best_of_n import VOTE_RULES, weighted_best_of_n
from ttc.verifiers.weights import (
  minmax_weights,
  sigmoid_weights,
  softmax_weights,
)

METHODS = (
  _best_of_n.METHOD,
  _self_consistency.METHOD,
  _self_consistency.WEIGHTED,
  _self_consistency.ADAPTIVE,
  _weighted_best_of_n.METHOD,
  _rpc.METHOD,
  _rpc.PERPLEXITY_CONSISTENCY,
  _rpc.GEOMETRIC_RPC,
  _rpc.GEOMETRIC_PERPLEXITY_CONSISTENCY,
  _rpc.PERPLEXITY,
  _rpc.CONFIDENCE,
  _execution_selection.METHOD,
  _execution_selection.VOTES,
  _first_finish_search.METHOD,
  _first_finish_search.CONTROL,
  _budget_forcing.METHOD,
  _beam_search.METHOD,
  _dvts.METHOD,
  _lookahead_search.METHOD,
  _mcts.METHOD,
  _revisions.METHOD,
  _post_editing.METHOD,
  _verifier_refinement.METHOD,
  _generative_verification.METHOD,
  _iterative_deepening.METHOD,
  _atom_of_thoughts.METHOD,
  _atts.METHOD,
  _qalign.METHOD,
  _qalign.QUEST,
)

__all__ = [
  'METHODS',
  'VOTE_RULES',
  'Answered',
  'AskFn',
  'AtomOutput',
  'Atoms',
  'AttsOutput',
  'BestOfNOutput',
  'Calibration',
  'Chains',
  'ChoiceShuffleOutput',
  'ConceptMemory',
  'Contraction',
  'FeedbackFn',
  'GeneratedChains',
  'MctsOutput',
  'Method',
  'QAlignOutput',
  'QuestionGraph',
  'Ranking',
  'Refinement',
  'RetrievalOutput',
  'Retrieved',
  'SelfConsistencyOutput',
  'Setting',
  'SolveFn',
  'StepSampler',
  'StepSearchOutput',
  'TextAnswers',
  'TextEnds',
  'TextTask',
  'Thinking',
  'Tree',
  'Trie',
  'Verdict',
  'Verdicts',
  'add_concepts',
  'answer_shares',
  'append_scores',
  'atom_of_thoughts',
  'atts',
  'beam_search',
  'best_at_k',
  'best_contraction',
  'best_of_n',
  'beta_confidence',
  'beta_stop',
  'beta_stopped_vote',
  'budget_forcing',
  'build_trie',
  'calibrate',
  'chain_vote',
  'choice_shuffle',
  'confidence_vote',
  'conformal_rank',
  'contract_question',
  'deepening_budgets',
  'dvts',
  'empty_memory',
  'execution_based',
  'execution_free',
  'first_agreeing',
  'first_finish_search',
  'fit_weibull_mixture',
  'fixed_feedback',
  'graph_depth',
  'hybrid_selection',
  'is_independent',
  'is_needed',
  'iterative_deepening',
  'longest_vote',
  'lookahead_search',
  'lowest_perplexity',
  'majority_vote',
  'mcts',
  'mean_correct',
  'minmax_weights',
  'most_votes',
  'nearest_exemplars',
  'observe',
  'p_value',
  'p_value_test',
  'p_value_test_rate',
  'perplexity_consistency',
  'prompt_tokens',
  'qalign',
  'quality_feedback',
  'rank_test',
  'rank_test_rate',
  'rejection_threshold',
  'relabel_options',
  'rerank',
  'retrieve_concepts',
  'revisions',
  'rpc',
  'sampling_solver',
  'select_best',
  'select_each',
  'select_leaf',
  'select_visited',
  'self_consistency',
  'self_generated_chains',
  'shortest_vote',
  'sigmoid_weights',
  'softmax_weights',
  'solve',
  'split_accuracy',
  'step_search',
  'subprograms',
  'tally',
  'telling_inputs',
  'test_votes',
  'text_setting_fn',
  'tokens_saved',
  'top_voted',
  'trie_beam_search',
  'turn_perplexity',
  'verifier_refinement',
  'weighted_best_of_n',
  'weighted_vote',
  'winner',
]
