"""The room of Kafka: what the system asks of a log (`api`), and the only modules that import a Kafka client.

Services take a `Log` from `client.connect` (or the twin in `aion_common.testing.memory_log`) and see nothing but
`api`; the topics of the system are one table in `topics`, and those of task queues in `queues`.
"""
