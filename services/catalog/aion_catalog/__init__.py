"""The catalog service: which package versions are loaded, and where new starts of each type run.

It is the single writer of `aion.catalog`, its event-sourced history. `core` decides and folds, `shell` reads, commits
and replies, `app` puts the two together. No other service imports it.
"""
