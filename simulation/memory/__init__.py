"""The world in memory: table, KFP and S3 as the ports see them, with a clock that tests turn.

Fakes, not mocks: the same contract tests run against these and against the real adapters. Nothing here sleeps.
"""
