"""Published tables of trained architectures: spaces whose estimator is a look-up, one benchmark a file."""
