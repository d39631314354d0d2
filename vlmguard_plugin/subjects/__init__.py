"""What a guard can be put on: transformers models, and the model objects of hosts."""
