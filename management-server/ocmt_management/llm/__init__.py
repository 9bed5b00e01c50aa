"""Which model answers a user, and the gateway (`/llm`) through which their agent asks it."""
