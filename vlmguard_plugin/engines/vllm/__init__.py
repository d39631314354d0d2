"""vLLM: a subject whose model runs in it, and guards inside its workers, for any server or host that starts it."""
