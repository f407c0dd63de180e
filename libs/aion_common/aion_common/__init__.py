"""What every room of Aion shares: records, their wire form, the Kafka seam, packages, limits and errors."""
