"""Experiments of constrained guided policy search: swimmer and walker in MuJoCo."""
