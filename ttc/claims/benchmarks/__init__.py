"""Claims about benchmarks: contamination, probes, scores of known graders."""
