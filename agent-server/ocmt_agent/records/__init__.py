"""The record of each agent: in memory, in the database, and as events and metrics."""
