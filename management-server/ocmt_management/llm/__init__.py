"""Users' language models: the choice of a model, and the gateway (`/llm`) that agents call."""
