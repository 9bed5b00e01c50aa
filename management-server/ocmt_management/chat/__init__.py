"""The user's chat with their agent, over one WebSocket per browser tab."""
