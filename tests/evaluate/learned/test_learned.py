from keysync.evaluate.learned import METRICS, LearnedMetric


def test_every_metric_is_there_and_absent_without_its_file() -> None:
    assert set(METRICS) == {"lipscore", "fvd", "fid", "cmmd", "lse_c", "lse_d", "lpips"}
    for metric in METRICS.values():
        assert issubclass(metric, LearnedMetric)
        line = metric.absent()
        assert line is not None
        assert metric.files[0].name in line
        assert "\n" not in line
