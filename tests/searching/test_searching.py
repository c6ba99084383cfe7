"""Fronts, volumes, limits, allocation and the space of recipes, against brute force and properties."""

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from math import inf, nan
from random import Random
from typing import Any

import numpy as np
import pytest
from optuna.storages import BaseStorage

from compression.errors import InvalidSetting, UnknownName, Unsupported, UserError
from compression.recipe import Recipe
from compression.records.search import Found, Trial
from compression.searching import objectives, proposals
from compression.searching.allocation import Harms, allocated, layer_bits
from compression.searching.front import Room, front, hypervolume, knee
from compression.searching.rounds import Bar, Rival, Sketch, bar
from compression.searching.settings import LIMITS, TECHNIQUES, SearchSettings, amount
from compression.searching.space import DOMAINS, Choice, Space, params_of, recipe
from compression.searching.study import BASELINE, MOST_CHARACTERS, RECORD, Study

FOUND = Found(
    drop=0.01, agreement=0.97, worst_class=0.8, size_bytes=50_000, macs=1_000, divergence=0.01, images=500,
    latency_ratio=0.5, latency_ms=0.2, memory_bytes=4_000, accuracy=0.9,
)  # fmt: skip


def clouds(count: int = 120) -> Iterator[list[tuple[float, ...]]]:
    """Points in one to three dimensions whose coordinates are sixths, so that many are equal or in line."""
    random = Random(0)
    for number in range(count):
        yield [tuple(random.randrange(7) / 6 for _ in range(1 + number % 3)) for _ in range(random.randrange(1, 10))]


def trial(number: int, *, drop: float = 0.01, size: int = 50_000, ratio: float = 0.5, **more: object) -> Trial:
    found = replace(FOUND, drop=drop, size_bytes=size, latency_ratio=ratio)
    return Trial(number, "complete", "all images", f"recipe {number}", {}, found, **more)  # type: ignore[arg-type]


def test_a_front_is_what_nothing_dominates() -> None:
    def dominates(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
        return a != b and all(x <= y for x, y in zip(a, b, strict=True))

    for points in clouds():
        found = [points[i] for i in front(points)]
        assert len(found) == len(set(found))
        assert set(found) == {p for p in points if not any(dominates(q, p) for q in points)}


def test_a_volume_is_that_of_the_cells_that_are_dominated() -> None:
    """The box falls into cells, each dominated as a whole or not at all."""
    for points in clouds():
        d = len(points[0])
        corners = product(range(6), repeat=d)
        inside = sum(any(all(6 * x <= c + 1e-9 for x, c in zip(p, corner, strict=True)) for p in points)
                     for corner in corners)  # fmt: skip
        assert hypervolume(points, (1.0,) * d) == pytest.approx(inside / 6**d)


def test_one_point_more_never_takes_from_a_volume() -> None:
    for points, (more, *_) in zip(clouds(), clouds(), strict=True):
        d = len(points[0])
        before = hypervolume(points[1:], (1.0,) * d)
        assert hypervolume([*points[1:], more], (1.0,) * d) >= before - 1e-12
        assert hypervolume([*points[1:], (inf,) * d], (1.0,) * d) == pytest.approx(before)
        gained = hypervolume([*points[1:], more], (1.0,) * d) - before
        if d == 3:
            room = Room.beside(np.array(points[1:]).reshape(-1, d), (1.0,) * d)
            added = room.gains(np.array([more, (inf,) * d, (0.0,) * d]))
            assert added == pytest.approx([gained, 0, 1 - before], abs=1e-12)


def test_the_knee_lies_furthest_below_the_line_between_the_ends() -> None:
    assert knee([(0, 1), (0.2, 0.2), (1, 0)]) == 1
    assert knee([(10, 0.4), (20, 0.39), (30, 0.1), (100, 0)]) == 2
    assert knee([(0, 1), (1, 0)]) is None
    assert knee([(0, 1), (0.5, 0.5), (1, 0)]) is None  # on the line


def test_limits_are_kept_up_to_their_edge_and_what_was_not_measured_keeps_none() -> None:
    edge = SearchSettings(
        drop=0.01, agreement=0.97, worst_class=0.8, size_bytes=50_000, latency=0.5, macs=1_000, memory_bytes=4_000
    )
    assert edge.keeps(FOUND)
    assert set(edge.limits) == set(LIMITS)
    beyond = {
        "drop": 0.0101, "agreement": 0.9699, "worst_class": 0.79, "size_bytes": 50_001, "latency_ratio": 0.51,
        "macs": 1_001, "memory_bytes": 4_001,
    }  # fmt: skip
    for name, value in beyond.items():
        broken = edge.violations(replace(FOUND, **{name: value}))  # type: ignore[arg-type]
        assert sum(by > 0 for by in broken.values()) == 1, name
    assert not edge.keeps(replace(FOUND, latency_ratio=None))
    assert SearchSettings.from_json(edge.to_json()) == edge


@pytest.mark.parametrize(
    ("text", "bytes_"), [("100KB", 100_000), (" 1.5 mb ", 1_500_000), ("30000", 30_000), ("20M", 20_000_000)]
)
def test_amounts_have_units(text: str, bytes_: int) -> None:
    assert amount(text, "--max-size") == bytes_


@pytest.mark.parametrize("text", ["", "KB", "-5KB", "1e9", "100 TB", "nan", "1.5.2MB", "9" * 99, "١KB٢"])
def test_what_is_no_amount_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(InvalidSetting, match="--max-size takes a number like 100KB"):
        amount(text, "--max-size")


@pytest.mark.parametrize(
    "text", ['{"drop": 2}', '{"techniques": []}', '{"minutes": NaN}', "[]", "{", '{"nonsense": 1}', '{"workers": 0}']
)
def test_settings_that_cannot_be_are_refused(text: str) -> None:
    with pytest.raises(UserError):
        SearchSettings.from_json(text)
    with pytest.raises(UnknownName, match="technique of a search"):
        SearchSettings(techniques=("magic",))


def test_bits_are_allocated_as_the_best_of_all_ways() -> None:
    """Equal layers with convex harm: what is bought one by one is the optimum (Fox 1966)."""
    random = Random(1)
    weights = {name: random.uniform(0.1, 10) for name in "abcd"}
    harms = Harms({n: {b: w * 4.0**-b for b in range(1, 9)} for n, w in weights.items()}, dict.fromkeys("abcd", 100))
    for bits in (2.0, 2.25, 3.5, 4.75, 8.0):
        found = allocated(harms, bits)
        assert sum(found.values()) <= 4 * bits
        best = min(
            (c for c in product(range(2, 9), repeat=4) if sum(c) <= 4 * bits),
            key=lambda c: sum(harms.harm[n][b] for n, b in zip("abcd", c, strict=True)),
        )
        assert sum(harms.harm[n][b] for n, b in found.items()) == pytest.approx(
            sum(harms.harm[n][b] for n, b in zip("abcd", best, strict=True))
        )
    written = Recipe().with_settings({"quantize.weight_bits": 4, "quantize.layer_bits": layer_bits(harms, 3.5, 4)})
    bits_of = {**dict.fromkeys("abcd", 4), **written.get("quantize").overrides}  # type: ignore[union-attr]
    assert bits_of == allocated(harms, 3.5)


HARMS = Harms({"a": {b: 4.0**-b for b in range(1, 9)}, "b": {b: 4.0**-b for b in range(1, 9)}}, {"a": 10, "b": 30})


@pytest.mark.parametrize("seed", range(0, 150, 10))
def test_whatever_the_space_has_is_a_recipe_of_the_techniques_asked_for(seed: int) -> None:
    for each in range(seed, seed + 10):
        random = Random(each)
        check_space(each, {*random.sample(TECHNIQUES, random.randrange(1, 6))})


def check_space(seed: int, techniques: set[str]) -> None:
    space = Space(tuple(techniques))
    params = proposals.random_params(space, Random(seed))
    made = recipe(params, Recipe(seed=3), HARMS)
    assert {step.kind for step in made.steps} <= techniques
    assert made.seed == 3
    again = space.completed(params_of(made))
    known = {n for n in ("shape", "zeros", "values", "prune.sparsity", "channels.amount", "quality") if n in params}
    assert {n: again[n] for n in known} == {n: params[n] for n in known}


def test_seeds_and_neighbours_are_recipes_that_were_not_tried() -> None:
    space, plain = Space(TECHNIQUES), Recipe()
    seeds = proposals.seeds(space, [{"values": "share", "share.entries": 9}])
    assert len({recipe(params, plain, HARMS).hash for params in seeds}) == len(seeds)
    assert seeds[-1]["share.entries"] in DOMAINS["share.entries"].values  # type: ignore[union-attr]
    wanted = SearchSettings()
    trials = [
        replace(trial(i, size=40_000 + i, drop=0.05 - i / 1000), recipe=recipe(p, plain, HARMS).to_json(), params=p)
        for i, p in enumerate(seeds)
    ]
    neighbours = proposals.Neighbours(space, wanted, plain, 1_000_000, Random(0))
    for _ in range(5):
        params = neighbours.propose(trials, HARMS)
        assert params is not None
        assert recipe(params, plain, HARMS).to_json() not in {t.recipe for t in trials}
        for name, value in params.items():
            domain = space.domain(name)
            assert value in domain.values if isinstance(domain, Choice) else domain.low <= value <= domain.high


def test_a_trial_is_cut_only_where_another_is_better_in_all() -> None:
    sketch = Sketch(divergence=0.01, size_bytes=50_000, macs=1_000, activation_bits=8)
    found = replace(FOUND, drop=0.05)
    for rival, cut in (
        (Rival(sketch, 0.0), True), (Rival(replace(sketch, size_bytes=50_001), 0.0), False),
        (Rival(replace(sketch, activation_bits=32), 0.0), False), (Rival(replace(sketch, macs=1_001), 0.0), False),
        (Rival(sketch, 0.049), False),
    ):  # fmt: skip
        assert bool(Bar((rival,)).cuts_file(sketch, found)) is cut
    far = replace(sketch, divergence=0.02)
    assert Bar((Rival(sketch, 0.0),)).cuts(far)
    assert not Bar((Rival(sketch, 0.0),)).cuts(replace(far, size_bytes=49_999))
    assert Bar(most_divergence=1.0).cuts(replace(sketch, divergence=float("nan")))
    assert not bar([trial(n) for n in range(3)], 0.02, {}).cuts(replace(sketch, divergence=5, size_bytes=1))
    assert bar([trial(n) for n in range(9)], 0.02, {}).cuts(replace(sketch, divergence=5, size_bytes=1))


def test_where_good_files_lose_little_others_may_differ_more() -> None:
    good = [trial(n, drop=0.01) for n in range(9)]
    other = Sketch(10 * FOUND.divergence, 1, 1_000, 8)
    assert bar(good, 0.02, {}).cuts(other)
    assert not bar(good, 0.1, {}).cuts(other)
    assert bar(good, 0.1, {}).cuts(replace(other, divergence=21 * FOUND.divergence))
    assert bar(
        [*good, replace(good[0], found=replace(FOUND, divergence=4 * FOUND.divergence, drop=0.09))], 0.1, {}
    ).cuts(other)


def test_no_more_is_proposed_to_be_removed_than_there_is() -> None:
    space, plain = Space(TECHNIQUES), Recipe()
    params = [
        space.completed({"shape": "channels", "channels.amount": a, "values": "bits", "bits": 4}) for a in (0.55, 0.6)
    ]
    done = replace(trial(0), recipe=recipe(params[0], plain, HARMS).to_json(), params=params[0])
    failed = Trial(1, "failed", "simulated", recipe(params[1], plain, HARMS).to_json(), params[1])
    amounts = {}
    for trials in ([done], [done, failed]):
        neighbours = proposals.Neighbours(space, SearchSettings(), plain, 1_000_000, Random(0))
        found = [neighbours.propose(trials, HARMS) or {} for _ in range(40)]
        amounts[len(trials)] = [
            p["channels.amount"] for p in found if p.get("channels.part") == params[0]["channels.part"]
        ]
    assert max(amounts[1]) >= 0.6 > 0.55 >= max(amounts[2])


def test_rivals_that_others_beat_are_left_out_and_cut_nothing_of_their_own() -> None:
    random = Random(3)
    trials = [
        replace(trial(n), found=replace(FOUND, size_bytes=random.randrange(5), drop=random.randrange(-1, 4) / 100,
                                        divergence=float(random.randrange(5))))
        for n in range(40)
    ]  # fmt: skip
    few, found = bar(trials, 1.0, {}), [t.found for t in trials if t.found]
    every = replace(few, rivals=tuple(Rival(Sketch(f.divergence, f.size_bytes, f.macs, 32), f.drop) for f in found))
    assert len(few.rivals) < 20
    for size, divergence, drop in product(range(6), range(8), (0.0, 0.1)):
        sketch = Sketch(float(divergence), size, FOUND.macs, 32)
        assert few.cuts(sketch) == every.cuts(sketch)
        file = replace(FOUND, drop=drop, agreement=1.0)
        assert few.cuts_file(sketch, file) == every.cuts_file(sketch, file)


def test_the_best_keeps_the_limits_and_a_front_what_a_little_more_buys() -> None:
    trials = [trial(0, drop=0.0, size=90_000, ratio=0.6), trial(1, drop=0.009, size=60_000, ratio=0.6),
              trial(2, drop=0.011, size=30_000, ratio=0.6), trial(3, drop=0.2, size=1_000, ratio=0.1),
              trial(4, drop=0.01, size=61_000, ratio=0.7)]  # fmt: skip
    wanted = SearchSettings(drop=0.01, minimise="size")
    best = objectives.best(trials, wanted)
    assert best is not None and best.number == 1
    chosen = objectives.best_front(trials, wanted)
    assert [t.number for t in chosen] == [2, 1, 0]
    [(next_, offer)] = objectives.offers(chosen, best)
    assert (next_.number, offer.size_bytes, offer.drop) == (2, 30_000, pytest.approx(0.002))
    assert objectives.best(trials, SearchSettings(size_bytes=500)) is None
    assert objectives.volume(trials, 100_000) == pytest.approx(
        hypervolume([(0, 0.9, 0.6), (0.09, 0.6, 0.6), (0.11, 0.3, 0.6)], (1, 1, 1))
    )
    grown = [volume for _, volume in objectives.volumes([replace(t, ended=float(t.number)) for t in trials], 100_000)]
    assert grown == sorted(grown)
    assert np.isclose(grown[-1], objectives.volume(trials, 100_000))


def test_a_study_leaves_out_what_is_no_trial_and_fields_of_another_version(storage: BaseStorage) -> None:
    study = Study(storage, "search", SearchSettings())
    kept = trial(0)
    plain = kept.to_plain() | {"colour": "red"}
    plain["found"] = plain["found"] | {"weight": 3}
    assert Trial.from_plain(plain) == kept
    vague = json.dumps(plain | {"found": {"drop": "much"}})
    for number, text in enumerate(('{"number": 1', "[1]", '{"number": 1}', vague, "[" * 100_000, json.dumps(plain))):
        study.ask({}, "test")
        study._optuna.set_user_attr(f"{RECORD}:{number}", text)
    assert study.trials == [kept]
    for text in ("{", "[" * 100_000, '"' + "x" * MOST_CHARACTERS + '"'):
        study._optuna.set_user_attr(BASELINE, text)
        with pytest.raises(Unsupported, match="The stored search cannot be read"):
            study.kept(BASELINE)


@pytest.mark.parametrize(
    ("name", "value"),
    [("accuracy", 1.5), ("accuracy", nan), ("drop", -2.0), ("size_bytes", 0), ("images", -1), ("macs", 2**70),
     ("agreement", None)],
)  # fmt: skip
def test_a_trial_with_impossible_figures_is_no_trial(name: str, value: object) -> None:
    plain = trial(1).to_plain()
    with pytest.raises(ValueError, match=name):
        Trial.from_plain({**plain, "found": {**plain["found"], name: value}})


def test_a_list_of_trials_that_grew_is_looked_at_anew() -> None:
    space, settings = Space(TECHNIQUES), SearchSettings()

    def tried(number: int, params: dict) -> Trial:
        text = recipe(params, Recipe(), HARMS).to_json()
        found = replace(FOUND, size_bytes=50_000 - 1_000 * number, drop=0.001 * number)
        return Trial(number, "complete", "all images", text, params, found, size_bytes=found.size_bytes, divergence=0.1)

    trials = [tried(number, params) for number, params in enumerate(proposals.seeds(space))]
    one, other = (proposals.Neighbours(space, settings, Recipe(), 100_000, Random(3)) for _ in range(2))
    for _ in range(30):
        trials = [*trials]
        proposed = one.propose(trials, HARMS)
        assert proposed is not None and proposed == other.propose([*trials], HARMS)  # as one that remembers nothing
        assert recipe(proposed, Recipe(), HARMS).to_json() not in {t.recipe for t in trials}
        trials.append(tried(len(trials), proposed))


@pytest.mark.parametrize("name", ["a b", "a\n", "x" * 65, "名", None, 7, ["a"]])
def test_a_device_has_a_name_that_workers_can_offer(name: Any) -> None:
    with pytest.raises(InvalidSetting, match=r"search\.device must be at most 64 letters"):
        SearchSettings.from_json(json.dumps({"device": name}))
