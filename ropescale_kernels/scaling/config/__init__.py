"""What a model's config.json means: which rule, with which parameters, in which dialect."""
