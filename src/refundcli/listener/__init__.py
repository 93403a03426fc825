"""The webhook listener: a delivery is proven, stored, and only then answered."""
