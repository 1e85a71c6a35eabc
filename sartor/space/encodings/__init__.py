"""Architectures as vectors: one encoding a file, each a `sartor.contracts.Encoding`."""
