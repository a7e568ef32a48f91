-- Insert ten thousand finished runs of one experiment, each with ten metrics and ten parameters.
INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status,
                  start_time, end_time, source_version, lifecycle_stage, artifact_uri, experiment_id)
SELECT md5(':experiment/' || run), 'run ' || run, 'LOCAL', '', '', 'bench', 'FINISHED',
       1750000000000 + run, 1750000001000 + run, '', 'active',
       'mlflow-artifacts:/:experiment/' || md5(':experiment/' || run) || '/artifacts', :experiment
FROM generate_series(1, 10000) AS run;

-- Unordered values between 0 and 1, the same in each run of the benchmark.
CREATE TEMPORARY TABLE measured AS
SELECT md5(':experiment/' || run) AS run_uuid, 'metric_' || number AS key,
       (run * 7919::bigint + number * 104729) * 31 % 10007 / 10007.0 AS value
FROM generate_series(1, 10000) AS run, generate_series(1, 10) AS number;

INSERT INTO metrics (run_uuid, key, value, timestamp, step, is_nan)
SELECT run_uuid, key, value, 1750000000500, 0, false FROM measured;

INSERT INTO latest_metrics (run_uuid, key, value, timestamp, step, is_nan)
SELECT run_uuid, key, value, 1750000000500, 0, false FROM measured;

INSERT INTO params (run_uuid, key, value)
SELECT md5(':experiment/' || run), 'param_' || number, ((run + number) % 7)::text
FROM generate_series(1, 10000) AS run, generate_series(1, 10) AS number;

ANALYZE;
