"""Values of architectures, predicted from a few trained ones: one `sartor.contracts.Predictor` a file."""
