"""The management server: sign-in, vault, model gateway, chat, and the page."""
