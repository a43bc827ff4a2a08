"""Seconds per room at the end of a run."""

import collections
import pathlib

TESTS = pathlib.Path(__file__).parent


def pytest_terminal_summary(terminalreporter):
  """Where the time went: a line for each room, the dearest first."""
  seconds, counts = collections.Counter(), collections.Counter()
  for reports in terminalreporter.stats.values():
    for report in reports:
      if not hasattr(report, 'duration'):
        continue
      parts = pathlib.PurePath(report.nodeid.split('::')[0]).parts
      room = parts[1] if len(parts) > 2 else 'whole'
      seconds[room] += report.duration
      counts[room] += report.when == 'call'
  if len(seconds) < 2:
    return
  terminalreporter.section('seconds per room')
  for room, total in seconds.most_common():
    terminalreporter.write_line(f'{total:8.1f}  {room} ({counts[room]} tests)')
  total = f'{sum(seconds.values()):8.1f}  all ({sum(counts.values())} tests)'
  terminalreporter.write_line(total)
