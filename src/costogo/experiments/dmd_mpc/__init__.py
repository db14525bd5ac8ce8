"""Experiments of mirror-descent MPC that feeds an off-policy agent (spec dmd_mpc)."""
