import pytest

from sartor.errors import InputError
from sartor.training import Recipe, Schedule


def test_a_trapezoid_warms_up_stays_and_cools_down_to_its_last_step():
    schedule = Schedule("trapezoid", total=10, warmup=2, cooldown=4)
    shares = [schedule(step) for step in range(10)]
    assert shares == [0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25]
    assert schedule.turn == 6
    assert [schedule.trunk(step) for step in range(10)] == [0.5] + [1.0] * 9


@pytest.mark.parametrize("total", [1, 2, 30, 90])
def test_trainings_of_all_lengths_share_the_rates_of_their_trunk(total: int):
    recipe = Recipe(warmup=0.1, cooldown=0.3)
    short = Schedule.of(recipe, total, longest=270, shortest=30)
    long = Schedule.of(recipe, 270, longest=270, shortest=30)
    assert [short(step) for step in range(short.turn)] == [long(step) for step in range(short.turn)]
    assert short(total - 1) > 0


def test_the_warm_up_takes_at_most_half_of_the_shortest_trunk():
    schedule = Schedule.of(Recipe(warmup=0.5, cooldown=0.2), 100, longest=1000, shortest=100)
    assert schedule.warmup == 40


def test_a_cosine_falls_from_one_to_nearly_zero_and_has_no_trunk():
    schedule = Schedule.of(Recipe(schedule="cosine", warmup=0.1), 100)
    assert schedule.turn == 0
    assert schedule(9) == 1.0
    assert schedule(10) == 1.0
    assert schedule(55) == pytest.approx(0.5)
    assert 0 < schedule(99) < 0.001


def test_a_constant_rate_is_all_trunk():
    schedule = Schedule.of(Recipe(schedule="constant", warmup=0.0), 10)
    assert schedule.turn == 10
    assert [schedule(step) for step in range(10)] == [1.0] * 10


def test_a_cooldown_of_the_whole_training_leaves_an_empty_trunk():
    schedule = Schedule.of(Recipe(warmup=0.0, cooldown=1.0), 4)
    assert schedule.turn == 0
    assert [schedule(step) for step in range(4)] == [1.0, 0.75, 0.5, 0.25]


def test_lengths_that_cannot_be_are_refused():
    with pytest.raises(InputError, match="total >= 1"):
        Schedule("constant", total=0)


def test_recipe_fields_are_checked_and_the_near_name_is_told():
    with pytest.raises(InputError, match="no optimizer 'rmsprop'; known: adam, adamw, sgd"):
        Recipe(optimizer="rmsprop")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no field 'learning_rates'; did you mean 'learning_rate'"):
        Recipe(players={"critic": {"learning_rates": 1.0}})
    with pytest.raises(InputError, match="ema_decay"):
        Recipe(ema_decay=1.0)
    with pytest.raises(InputError, match="learning_rate"):
        Recipe(learning_rate=float("nan"))


def test_a_player_has_its_own_fields_and_else_the_recipes():
    recipe = Recipe(learning_rate=0.1, players={"critic": {"learning_rate": 0.2}})
    assert recipe.of_player("critic").learning_rate == 0.2
    assert recipe.of_player("critic").batch_size == recipe.batch_size
    assert recipe.of_player("network") is recipe
