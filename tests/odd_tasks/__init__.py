"""Tasks that hold the contract open: batches that depend on the network, two players, output that is generated."""
