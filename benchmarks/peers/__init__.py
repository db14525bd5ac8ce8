"""Other people's solvers. Each script here runs in an environment of its own and is driven by `process.Peer`."""
