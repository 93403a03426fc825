"""The webhook listener: a delivery is verified, stored, and only then answered."""
