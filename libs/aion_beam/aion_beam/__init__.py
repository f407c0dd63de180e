"""Drives Erlang VMs: frames, the process behind them, a pool of them, replay of histories, and the deploy check."""
