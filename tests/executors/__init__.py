"""Tests of executors. A new kind inherits `conformance.ExecutorConformance` and supplies its fixtures."""
