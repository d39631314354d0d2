"""What a demo VLM is: whether it sees, stays on task and refuses, and how far pictures shift its hidden states."""
