"""The files in an agent's workspace, for its user. The agent chose every name, link and byte."""
