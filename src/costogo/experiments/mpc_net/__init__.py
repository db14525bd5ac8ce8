"""MPC-Net: presets of its systems, and the experiments of spec mpc_net section 10."""
