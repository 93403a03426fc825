"""The rows that the audit trail vouches for: what of them is guarded, and how entries carry what was written."""
