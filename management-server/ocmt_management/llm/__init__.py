"""Users' language models: the choice of one, and the gateway (`/llm`) that their agents call."""
