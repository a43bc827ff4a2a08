"""Environments of several agents, one family a file or a folder."""
