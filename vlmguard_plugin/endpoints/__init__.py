"""OpenAI-compatible endpoints: where they are asked, and what their replies and errors may say."""
