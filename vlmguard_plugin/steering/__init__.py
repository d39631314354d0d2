"""Hidden states of a language model's decoder: found, heard, recorded and edited."""
