"""Deploy to servers over ssh: releases side by side, health gates, rollback, one inventory file."""
