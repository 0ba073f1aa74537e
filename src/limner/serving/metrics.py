"""What is counted, for Prometheus. One registry a server, so that several can live in one process."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest


class Metrics:
    """Counters and histograms; ``text`` is what ``/metrics`` says."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "limner_requests", "Answered requests.", ["method", "route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "limner_request_seconds", "Time to the end of an answer.", ["route"], registry=self.registry
        )
        self.jobs = Counter("limner_jobs", "Ended jobs.", ["kind", "state"], registry=self.registry)
        self.job_seconds = Histogram(
            "limner_job_seconds", "Computing time of a job.", ["kind"], registry=self.registry,
            buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
        )  # fmt: skip
        self.batch = Histogram(
            "limner_batch_jobs", "Jobs computed as one batch.", registry=self.registry, buckets=(1, 2, 3, 4, 6, 8)
        )
        self.waiting = Gauge("limner_jobs_waiting", "Jobs that wait.", registry=self.registry)

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self.registry)
