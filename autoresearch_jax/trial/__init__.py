"""The trial engine: tracer, sandbox, artifact, runner. Candidate code runs in the tracer alone."""
