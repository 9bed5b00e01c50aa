"""The agents' disk usage: measured, limited, and enforced."""
