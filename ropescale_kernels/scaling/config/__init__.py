"""The meaning of a model's config.json: the rule and its parameters in each dialect."""
