"""Hibernates and wakes agents, and reconciles their records with the runtime."""
