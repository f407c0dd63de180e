"""Twins of what lies outside, with the real interface: for tests and simulations, never imported by a service."""
