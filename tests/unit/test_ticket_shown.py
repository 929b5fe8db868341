"""What a ticket says of itself: in a line, as text, in a notebook, in milliseconds; tickets of chosen blocks."""

import io
import random
import re
import sys
import time
from html.parser import HTMLParser

import pytest
import torch
from tests.unit.handed import Bert, seeded, texts
from tests.unit.plain import UNIT, WHOLE, Plain, made
from torch import nn

import layerlottery as ll
from layerlottery.tickets import progress
from layerlottery.words import MINUS

IMAGES = torch.rand(6, 3, 6, 6, generator=torch.Generator().manual_seed(2))
BATCH = IMAGES, torch.arange(6) % 3


@pytest.fixture(scope="module")
def ticket():
    return ll.find_ticket(made(), BATCH, "snip", remove=1)


@pytest.fixture(scope="module")
def by_hand():
    return ll.prune(made(), ["units.1"], example=IMAGES)


def test_a_ticket_is_one_line(ticket, by_hand):
    left = sum(one.numel() for one in ticket.model.parameters())
    unit = 4 * 4 * 9 + 8 + 4 * 4 + 4
    shares = f"MACs {MINUS}{100 * UNIT / WHOLE:.0f} %, parameters {MINUS}{100 * unit / (left + unit):.0f} %"
    assert repr(ticket) == str(ticket) == f"Ticket(snip: 1 of 3 removable blocks removed, {shares})"
    assert repr(by_hand) == f"Ticket(chosen by hand: 1 of 3 removable blocks removed, {shares})"
    nothing = ll.prune(made(), [], example=IMAGES)
    assert repr(nothing) == "Ticket(chosen by hand: 0 of 3 removable blocks removed, MACs 0 %, parameters 0 %)"


def test_the_summary_draws_what_was_removed_in_its_place(ticket):
    lines = ticket.summary().splitlines()
    assert lines[0] == repr(ticket)
    tree = lines[lines.index("Plain") :]
    assert [re.sub(r"[^\w:]+", " ", line).split()[:2] for line in tree] == [
        ["Plain"],
        ["first", "Conv2d"],
        ["units", "Sequential"],
        ["0", "Unit:"],
        ["1", "Unit:"],
        ["2", "Unit:"],
        ["last", "Linear"],
    ]
    for name, score in ticket.scores.items():
        (line,) = [one for one in tree if re.search(rf" {name[-1]}  Unit", one)]
        assert f"{score:.4g}" in line
        assert ("removed" in line) == (name in ticket.removed_blocks)
    costs = {line.split("  ")[0]: line for line in lines[1 : lines.index("Plain")] if line}
    assert f"{ticket.cost.macs_before:,}" in costs["multiply-accumulates, one input"]
    assert f"{ticket.cost.params:,}" in costs["parameters"]


class Cells(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.said = [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)

    def handle_data(self, data):
        self.said.append(data)


def test_a_notebook_shows_escaped_names():
    hostile = "<img src=x onerror=alert(1)>"
    model = nn.ModuleDict({hostile.replace(".", ""): made().units, "head": nn.Linear(4, 3)})

    class Holder(nn.Module):
        def __init__(self):
            super().__init__()
            self.held, self.stem = model, nn.Conv2d(3, 4, 1)

        def forward(self, x):
            return self.held["head"](self.held[hostile](self.stem(x)).mean((2, 3)))

    ticket = ll.find_ticket(Holder(), BATCH, "l1", remove=1)
    cells = Cells()
    cells.feed(ticket._repr_html_())
    assert set(cells.tags) == {"div", "p", "b", "code", "table", "thead", "tbody", "tr", "th", "td", "del"}
    said = "".join(cells.said)
    assert all(name in said for name in [*ticket.removed_blocks, repr(ticket)])
    assert cells.tags.count("del") == 1


def test_what_steers_a_terminal_is_shown_and_a_name_is_one_line():
    network = made()
    network.units = nn.Sequential()
    for name, unit in zip(("\x1b[31mred\nx", "\u202eback"), made().units, strict=False):
        network.units.add_module(name, unit)

    def named(model, blocks, batches, *, seed):
        return {block.name: place for place, block in enumerate(blocks)}

    named.__name__ = "a\n\x1b[0m"
    ticket = ll.find_ticket(network, BATCH, named, remove=1)
    assert repr(ticket).startswith(r"Ticket(a \x1b[0m: 1 of 2 removable blocks removed")
    lines = ticket.summary().splitlines()
    assert sum(r"\x1b[31mred x  Unit: removed" in line for line in lines) == 1
    assert sum(r"\u202eback  Unit: kept" in line for line in lines) == 1
    assert not any("\x1b" in line or "\u202e" in line for line in lines)


def test_both_networks_are_timed_in_turns():
    wide = nn.Sequential(nn.Conv2d(3, 16, 1), *(Slow() for _ in range(8)), nn.Flatten(), nn.LazyLinear(3))
    wide(IMAGES)
    ticket = ll.prune(wide, [str(place) for place in range(1, 8)], example=IMAGES)
    taken = ticket.latency(IMAGES, rounds=3, threads=1)
    # of eight blocks that sleep for 2 ms one is left
    assert taken.whole > 16
    assert taken.whole > taken.ticket > 2
    assert taken.speedup == pytest.approx(taken.whole / taken.ticket)
    assert (taken.batch_size, taken.threads) == (6, 1)
    assert f"{taken.speedup:.2f} times as fast ({taken.device}, 1 thread)" in str(taken)


class Slow(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(16, 16, 1)

    def forward(self, x):
        time.sleep(0.002)
        return x + self.conv(x)


@pytest.mark.parametrize("option", ["rounds", "threads"])
@pytest.mark.parametrize("value", [0, -1, 1.5, "3", True, 10**9])
def test_a_timing_that_can_t_be_is_one_line_that_names_the_option(ticket, option, value):
    with pytest.raises(ll.LayerLotteryError, match=rf"^{option}: found {value!r}; allowed: a whole number from 1 to "):
        ticket.latency(IMAGES, **{option: value})


def test_a_loaded_ticket_is_timed_too_and_a_dict_of_arguments(ticket, tmp_path):
    ll.save_ticket(ticket, tmp_path / "t")
    assert ll.load_ticket(tmp_path / "t", made).latency(IMAGES, rounds=1).speedup > 0
    assert ll.prune(seeded(Bert), ["layers.0"], example=texts()).latency(texts(), rounds=1).whole > 0


def test_a_batch_with_its_labels_is_not_timed(ticket):
    with pytest.raises(ll.LayerLotteryError, match=r"^inputs: found a batch with its labels; allowed: .* no labels$"):
        ticket.latency(BATCH)


@pytest.mark.parametrize(("given", "found"), [("images", "str"), ({}, "dict"), (IMAGES[:0], "an empty batch")])
def test_only_a_batch_can_be_timed(ticket, given, found):
    with pytest.raises(ll.LayerLotteryError, match=f"^inputs: found {found}; allowed: a batch"):
        ticket.latency(given)


def test_a_ticket_of_chosen_blocks_is_taken_wherever_one_is(by_hand, tmp_path):
    assert (by_hand.removed_blocks, by_hand.kept, by_hand.scores) == (["units.1"], ["units.0", "units.2"], {})
    assert by_hand.cost.macs_before - by_hand.cost.macs == UNIT
    ll.save_ticket(by_hand, tmp_path / "t")
    loaded = ll.load_ticket(tmp_path / "t", made)
    assert torch.equal(loaded.model.eval()(IMAGES), by_hand.model.eval()(IMAGES))
    assert (loaded.criterion, loaded.scores) == ("chosen by hand", {})
    assert ll.export_program(by_hand, tmp_path / "t.pt2") < 1e-4
    card = ll.model_card(by_hand, name="mine")
    assert re.search(r"Plain without 1 of its 3 removable residual blocks \(`units\.1`\), chosen by hand\.", card)
    assert "| `units.1` |  | removed |" in card
    assert "| `units.2` |  | kept |" in card
    assert "chosen by `" not in card


def test_what_takes_a_network_is_told_where_it_is(by_hand):
    with pytest.raises(AttributeError, match=r"a Ticket has no 'parameters': its network is ticket\.model"):
        by_hand.parameters()
    with pytest.raises(ll.LayerLotteryError, match=r"^ticket: found Plain; allowed: what find_ticket or prune gives"):
        ll.save_ticket(made(), "nowhere")


def test_chosen_blocks_may_lie_within_others():
    ticket = ll.prune(made(), ["units.2", "units.0", "units.0"], example=IMAGES)
    assert (ticket.removed_blocks, ticket.kept) == (["units.0", "units.2"], ["units.1"])


class Narrowing(nn.Module):
    """Two stages of two blocks, the second of which has a quarter of the pixels."""

    def __init__(self):
        super().__init__()
        first, second = made(Plain).units[:2], made(Plain).units[1:]
        self.body = nn.Sequential(nn.Conv2d(3, 4, 1), first, nn.MaxPool2d(2), second)
        self.last = nn.Linear(4, 3)

    def forward(self, x):
        return self.last(self.body(x).mean((2, 3)))


@pytest.mark.parametrize("value", [-1, 1.5, "1", None, True])
def test_a_minimum_that_no_stage_can_keep_is_one_line(value):
    allowed = "allowed: a whole number from 0"
    with pytest.raises(ll.LayerLotteryError, match=rf"^minimum_per_stage: found {value!r}; {allowed}$"):
        ll.find_ticket(made(), BATCH, "random", remove=1, minimum_per_stage=value)


@pytest.mark.parametrize(
    ("model", "found"),
    [(None, "NoneType"), (Plain, "the class Plain"), (lambda x: x, "function")],
    ids=["none", "class", "function"],
)
def test_what_is_no_network_is_one_line(model, found):
    calls = [
        lambda: ll.score(model, BATCH, "snip"),
        lambda: ll.score(model, criterion="l1"),
        lambda: ll.find_blocks(model, IMAGES),
        lambda: ll.prune(model, ["units.1"]),
    ]
    for call in calls:
        with pytest.raises(ll.LayerLotteryError, match=rf"^model: found {found}; allowed: a network"):
            call()


def test_a_criterion_in_a_list_and_a_share_above_one_are_told():
    with pytest.raises(ll.LayerLotteryError, match=r"^criterion: found \['snip'\]; allowed: random, "):
        ll.score(made(), BATCH, ["snip"])
    with pytest.raises(ll.LayerLotteryError, match=r"^remove_flops: found 1.5; allowed: a share from 0 to 1$"):
        ll.find_ticket(made(), BATCH, "random", remove_flops=1.5)


def test_a_target_out_of_reach_names_the_minimum_that_reaches_it():
    with pytest.raises(ll.LayerLotteryError) as caught:
        ll.find_ticket(Narrowing(), BATCH, "random", remove_flops=0.8)
    told = re.fullmatch(
        r"remove_flops: found 0\.8; removing all 2 blocks that may go takes (0\.\d{4}) away; "
        r"minimum_per_stage=0 allows 4, (0\.\d{4}) in all",
        str(caught.value),
    )
    ticket = ll.find_ticket(Narrowing(), BATCH, "random", remove_flops=0.8, minimum_per_stage=0)
    assert ticket.cost.flops_reduction == pytest.approx(float(told[2]), abs=1e-4)
    ticket = ll.find_ticket(Narrowing(), BATCH, "random", remove=2)
    assert ticket.cost.flops_reduction == pytest.approx(float(told[1]), abs=1e-4)
    with pytest.raises(ll.LayerLotteryError, match=r"allows 0 to 2 blocks; minimum_per_stage=0 allows 4$"):
        ll.find_ticket(Narrowing(), BATCH, "random", remove=3)
    with pytest.raises(ll.LayerLotteryError, match=r"takes 0\.\d+ away; minimum_per_stage=1 allows 2, 0\.\d+ in all$"):
        ll.find_ticket(Narrowing(), BATCH, "random", remove_flops=0.4, minimum_per_stage=2)
    with pytest.raises(ll.LayerLotteryError, match=r"removing all 4 blocks that may go takes 0\.\d+ away$"):
        ll.find_ticket(Narrowing(), BATCH, "random", remove_flops=0.99, minimum_per_stage=0)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def slowly(model, blocks, batches, *, seed):
    for _ in batches:
        time.sleep(0.2)
    return {block.name: float(place) for place, block in enumerate(blocks)}


@pytest.mark.parametrize(
    ("stream", "options", "shows"),
    [(Terminal, {}, True), (io.StringIO, {}, False), (Terminal, {"progress": False}, False)],
)
@pytest.mark.parametrize("given", [BATCH, [BATCH, BATCH]], ids=["one", "many"])
def test_a_bar_is_shown_in_a_terminal_alone(given, stream, options, shows, monkeypatch):
    monkeypatch.setattr(progress, "PATIENCE", 0.05)
    monkeypatch.setattr(progress, "PULSE", 0.05)
    monkeypatch.setattr(sys, "stderr", stream())
    scores = ll.score(made(), given, slowly, **options)
    assert ("slowly of 3 removable blocks" in sys.stderr.getvalue()) == shows
    monkeypatch.undo()
    assert scores == ll.score(made(), given, slowly, progress=False)


@pytest.mark.parametrize(("options", "shows"), [({}, True), ({"progress": False}, False)])
def test_a_timing_shows_how_long_it_has_gone_on(ticket, options, shows, monkeypatch):
    monkeypatch.setattr(progress, "PATIENCE", 0.05)
    monkeypatch.setattr(progress, "PULSE", 0.05)
    monkeypatch.setattr(sys, "stderr", Terminal())
    ticket.latency(IMAGES, rounds=3, threads=1, **options)
    assert ("forward passes of both networks" in sys.stderr.getvalue()) == shows


def test_what_ends_soon_shows_no_bar(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    ll.score(made(), BATCH, "snip")
    assert sys.stderr.getvalue() == ""


def test_the_package_shows_what_is_public_and_nothing_else():
    assert dir(ll) == sorted(ll.__all__)
    assert all(hasattr(ll, name) for name in dir(ll))


def test_what_cannot_be_seen_in_names_is_written_out_in_notebooks():
    model = made()
    children, hidden = model.units._modules, "a\x1b[31m\u202eb"
    model.units._modules = {hidden if name == "1" else name: child for name, child in children.items()}
    model.__class__ = type("Net\u202e", (Plain,), {})
    page = ll.prune(model, [f"units.{hidden}"], example=IMAGES)._repr_html_()
    assert "Net\\u202e" in page
    assert "units.a\\x1b[31m\\u202eb" in page
    assert not {"\x1b", "\u202e"} & {*page}


def test_drawing_leaves_random_states(ticket, monkeypatch):
    # as rich does when it is first imported
    monkeypatch.setattr("layerlottery.tickets.drawing.text", lambda *_: str(random.random()))
    before = random.getstate()
    ticket.summary()
    assert random.getstate() == before
