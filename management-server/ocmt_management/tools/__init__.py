"""Users' tools: MCP servers behind `/mcp`, with each user's credentials and rules."""
