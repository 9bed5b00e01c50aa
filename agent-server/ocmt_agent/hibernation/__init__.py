"""When an agent sleeps and how it is woken."""
