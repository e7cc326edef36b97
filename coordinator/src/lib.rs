//! REST edge, catalogue, key custody, planning, fan-out and merge, jobs.
