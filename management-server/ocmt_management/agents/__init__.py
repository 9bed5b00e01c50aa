"""People's agents as management sees them: made, watched, woken. The agent server runs them."""
