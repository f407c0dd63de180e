"""The shells: tasks, Kafka, VMs, HTTP. They decide nothing: every fact goes through the processor."""
