"""Which checkpoints a bundle takes along: those that say most about when its events were there."""

from hypothesis import given
from hypothesis import strategies as st

from audit.anchors import choose


def test_for_each_event_the_first_checkpoint_that_covers_it_is_an_anchor_and_the_last_of_all() -> None:
    assert choose([256, 512, 768, 1024], [0, 255, 600]) == {256, 768, 1024}
    assert choose([256], [256, 300]) == {256}
    assert choose([], [1]) == set()


@given(st.sets(st.integers(1, 50)), st.lists(st.integers(0, 60)))
def test_no_checkpoint_outside_the_anchors_would_say_more_of_an_event(
    sizes: set[int], indexes: list[int]
) -> None:
    chosen = choose(sorted(sizes), indexes)
    assert chosen <= sizes
    for index in indexes:
        covering = [size for size in sizes if size > index]
        assert not covering or min(covering) in chosen
