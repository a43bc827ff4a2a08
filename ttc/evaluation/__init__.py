"""Metrics, statistics and the records they are computed from."""

from ttc.evaluation.aggregates import (
  interquartile_mean,
  mean_score_profile,
  median_of_task_means,
  optimality_gap,
  probability_of_improvement,
  run_score_profile,
  stratified_bootstrap,
)
from ttc.evaluation.arise import (
  RunMeans,
  accuracy_slope,
  adaptive_runs,
  allocate_runs,
  arise,
  variation,
)
from ttc.evaluation.bootstrap import (
  bca_interval,
  bootstrap,
  percentile_interval,
  weighted_mean,
)
from ttc.evaluation.calibration import (
  Reliability,
  expected_calibration_error,
  reliability,
)
from ttc.evaluation.classification import (
  brier_score,
  calibration_error,
  error_rate,
  macro_accuracy,
  negative_log_likelihood,
  slope,
)
from ttc.evaluation.clusters import SameFn, cluster_scores
from ttc.evaluation.comparisons import (
  PairedDifference,
  holm,
  mcnemar_test,
  minimum_detectable_effect,
  paired_difference,
  required_items,
  sign_flip_test,
)
from ttc.evaluation.cost_counts import CallCost, CostQuestion, count_costs
from ttc.evaluation.curves import Curve, scaling_curve
from ttc.evaluation.equal_cost import (
  Outcomes,
  accuracy_at,
  against,
  comparison_report,
  pool_outcomes,
)
from ttc.evaluation.function_checks import (
  FunctionCheck,
  Verdict,
  check_functions,
)
from ttc.evaluation.metrics import (
  budget_control,
  budget_performance,
  budget_scaling,
  tokens_per_correct,
)
from ttc.evaluation.ranking import (
  RankingSummary,
  ndcg,
  recall,
  reciprocal_rank,
  summarize_ranking,
)
from ttc.evaluation.records import (
  SampleRecord,
  ScoreRecord,
  SearchRecord,
  canonical,
  write_parquet,
)
from ttc.evaluation.report import (
  CurveSummary,
  TaskSummary,
  markdown_report,
  scalars,
  summarize_curve,
  summarize_outcomes,
)
from ttc.evaluation.sandbox import Execution, run_programs
from ttc.evaluation.seeds import problem_key, sample_seed
from ttc.evaluation.statistics import (
  Estimate,
  Interval,
  VarianceSplit,
  confidence_interval,
  mean_and_standard_error,
  variance_split,
  wilson_interval,
)
from ttc.evaluation.suite_checks import (
  Suite,
  SuiteReport,
  check_suites,
  function_node,
)
from ttc.evaluation.tables import markdown_table
from ttc.evaluation.tabulate import Table, tabulate
from ttc.evaluation.time_to_result import (
  algoperf_score,
  geometric_speedup,
  median_target,
  performance_profile,
  performance_ratios,
  time_of_studies,
  time_to_target,
  with_held_out,
)
from ttc.evaluation.translation import bleu, chrf
from ttc.evaluation.worker_pool import Outcome, map_guarded

__all__ = [
  'CallCost',
  'CostQuestion',
  'Curve',
  'CurveSummary',
  'Estimate',
  'Execution',
  'FunctionCheck',
  'Interval',
  'Outcome',
  'Outcomes',
  'PairedDifference',
  'RankingSummary',
  'Reliability',
  'RunMeans',
  'SameFn',
  'SampleRecord',
  'ScoreRecord',
  'SearchRecord',
  'Suite',
  'SuiteReport',
  'Table',
  'TaskSummary',
  'VarianceSplit',
  'Verdict',
  'accuracy_at',
  'accuracy_slope',
  'adaptive_runs',
  'against',
  'algoperf_score',
  'allocate_runs',
  'arise',
  'bca_interval',
  'bleu',
  'bootstrap',
  'brier_score',
  'budget_control',
  'budget_performance',
  'budget_scaling',
  'calibration_error',
  'canonical',
  'check_functions',
  'check_suites',
  'chrf',
  'cluster_scores',
  'comparison_report',
  'confidence_interval',
  'count_costs',
  'error_rate',
  'expected_calibration_error',
  'function_node',
  'geometric_speedup',
  'holm',
  'interquartile_mean',
  'macro_accuracy',
  'map_guarded',
  'markdown_report',
  'markdown_table',
  'mcnemar_test',
  'mean_and_standard_error',
  'mean_score_profile',
  'median_of_task_means',
  'median_target',
  'minimum_detectable_effect',
  'ndcg',
  'negative_log_likelihood',
  'optimality_gap',
  'paired_difference',
  'percentile_interval',
  'performance_profile',
  'performance_ratios',
  'pool_outcomes',
  'probability_of_improvement',
  'problem_key',
  'recall',
  'reciprocal_rank',
  'reliability',
  'required_items',
  'run_programs',
  'run_score_profile',
  'sample_seed',
  'scalars',
  'scaling_curve',
  'sign_flip_test',
  'slope',
  'stratified_bootstrap',
  'summarize_curve',
  'summarize_outcomes',
  'summarize_ranking',
  'tabulate',
  'time_of_studies',
  'time_to_target',
  'tokens_per_correct',
  'variance_split',
  'variation',
  'weighted_mean',
  'wilson_interval',
  'with_held_out',
  'write_parquet',
]
