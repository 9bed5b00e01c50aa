"""Who has an agent: provisioning, records, the API."""
