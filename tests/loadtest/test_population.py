import pytest

from xcluster.loadtest.population import Population, other_node


def arrived(population, count):
    visitors = [population.arrive() for _ in range(count)]
    for visitor in visitors:
        population.entered(visitor)
    return visitors


def test_visitors_are_spread_evenly_and_nobody_is_there_twice():
    population = Population(100, 3)
    visitors = arrived(population, 60)
    assert {node: sum(visitor.node == node for visitor in visitors) for node in range(3)} == {
        0: 20,
        1: 20,
        2: 20,
    }
    assert len({visitor.user for visitor in visitors}) == 60


def test_who_has_left_comes_again_and_nobody_before():
    population = Population(20, 1, away_share=0.5)
    visitors = arrived(population, 10)
    assert population.arrive() is None
    population.left(visitors[3])
    assert population.arrive().user == visitors[3].user


def test_most_partners_are_on_another_node():
    population = Population(300, 3)
    visitors = arrived(population, 90)
    partners = [(visitor, population.partner(visitor)) for visitor in visitors for _ in range(10)]
    assert all(partner.user != visitor.user for visitor, partner in partners)
    crossing = sum(partner.node != visitor.node for visitor, partner in partners)
    assert 0.7 < crossing / len(partners) < 0.9


def test_partner_on_the_own_node_when_there_is_no_other():
    population = Population(30, 1)
    first, second = arrived(population, 2)
    assert population.partner(second) is first
    population.leaving(first)
    assert population.partner(second) is None


def test_away_users_never_visit_and_belong_to_one_node():
    population = Population(100, 3, away_share=0.2)
    visitors = {population.arrive().user for _ in range(80)}
    away = {node: {population.away_from(node) for _ in range(50)} for node in range(3)}
    assert population.arrive() is None
    assert not visitors & set.union(*away.values())
    assert sum(map(len, away.values())) == len(set.union(*away.values())) == 20


def test_processes_share_the_users():
    parts = [Population(101, 2, part=part, parts=2) for part in range(2)]
    users = [
        {part.arrive().user for _ in range(40)} | {part.away_from(node) for node in range(2)}
        for part in parts
    ]
    assert not users[0] & users[1]


def test_too_few_users_are_refused():
    with pytest.raises(ValueError, match="too few"):
        Population(3, 3)


@pytest.mark.parametrize(
    ("nodes", "used", "expected"),
    [(3, {0}, 1), (3, {2}, 0), (3, {0, 1}, 2), (1, {0}, 0), (2, {0, 1}, 1), (2, set(), 0)],
)
def test_other_node_is_another_one_where_there_is_one(nodes, used, expected):
    assert other_node(nodes, used) == expected
