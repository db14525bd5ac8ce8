"""Experiments of differentiable MPC."""
