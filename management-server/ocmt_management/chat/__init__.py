"""A person's conversation with their own agent: a small protocol over one WebSocket a tab."""
