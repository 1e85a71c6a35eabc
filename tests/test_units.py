import pytest

from sartor.errors import InputError
from sartor.goals import Limit
from sartor.units import canonical, format_duration, format_figure, parse_duration_s, parse_figure


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("latency_ms", "1ms", 1.0),
        ("latency_ms", "250us", 0.25),
        ("latency_ms", "0.5 s", 500.0),
        ("latency_ms", "2", 2.0),
        ("params", "200k", 200e3),
        ("params", "1.5M", 1.5e6),
        ("params", "64", 64),
        ("macs", "2G", 2e9),
        ("peak_memory_bytes", "2MiB", 2 * 2**20),
        ("model_bytes", "100KiB", 100 * 1024),
        ("model_bytes", "1MB", 1e6),
        ("energy_mj", "3mJ", 3.0),
        ("energy_mj", "1J", 1000.0),
        ("latency_ms", 3, 3.0),
    ],
)
def test_a_quantity_is_read_in_the_unit_of_its_figure(name, text, value):
    assert parse_figure(name, text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "ms", "1 parsec", "-1ms", "0ms", "1e", "nan"])
def test_a_quantity_that_is_none_is_refused(text):
    with pytest.raises(InputError):
        parse_figure("latency_ms", text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("10m", 600), ("1h30m", 5400), ("1.5h", 5400), ("45", 45), ("500ms", 0.5)]
)
def test_a_duration_is_read_in_seconds(text, seconds):
    assert parse_duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "soon", "10 parsecs", "-5m", "0s", "1h-5m"])
def test_a_duration_that_is_none_is_refused(text):
    with pytest.raises(InputError):
        parse_duration_s(text)


def test_an_unknown_figure_names_the_nearest():
    with pytest.raises(InputError, match="did you mean 'latency'"):
        canonical("latencyy")


def test_figures_are_written_for_people():
    assert format_figure("latency_ms", 0.1472) == "0.147 ms"
    assert format_figure("params", 87_342) == "87.3k"
    assert format_figure("model_bytes", 1.5 * 2**20) == "1.5 MiB"
    assert format_figure("accuracy", 0.98765) == "0.9877"
    assert format_duration(3 * 60 + 5) == "3m 05s"
    assert format_duration(2 * 3600 + 600) == "2h 10m"


@pytest.mark.parametrize("text", ["latency=1ms", "latency<=1ms", "latency_ms = 1000us", "latency<=1"])
def test_a_limit_is_read_with_its_unit(text):
    assert Limit.parse(text) == Limit("latency_ms", 1.0)


@pytest.mark.parametrize("text", ["latency", "=1ms", "latency>1ms", "latency=fast", "params=1ms"])
def test_a_limit_that_is_none_is_refused(text):
    with pytest.raises(InputError):
        Limit.parse(text)
