"""Tool servers over stdio: npm packages, each in a container of its own per user."""
