"""The desk of the Rank tab: the place where rank.js builds the order, and the order it sends."""

import json
from html import escape
from typing import Any

from chat_app import wording_rank as words
from chat_app.errors import ChatError
from chat_app.language import N_, tr
from chat_app.ranking import DeskView
from storage.slates import Criterion, Orders, Ranks


def desk_html(view: DeskView, orders: Orders | None) -> str:
    """The place where rank.js builds the order; our own words only, none of the model's."""
    slate = view.slate
    if slate is None:
        return ""
    given: dict[str, Any] = {}
    if orders is not None:
        own = {name.value: list(ranks) for name, ranks in orders.criteria.items()}
        given = {"overall": list(orders.overall), "criteria": own}
    criteria = "".join(
        f'<button type="button" role="radio" aria-checked="false" data-criterion="{one.value}" '
        f'data-asks="{escape(words.CRITERIA_ASK[one])}">{escape(name)}</button>'
        for one, name in words.CRITERIA.items()
    )
    said = {
        name: escape(tr(sentence))
        for name, sentence in {
            "by": N_("Order the answers by"),
            "follows": N_("Same as overall. Change anything, and it has an order of its own."),
            "order": N_("Your order, best first"),
            "tie": N_("Tie the last two [=]"),
            "rest": N_("Tie the rest [R]"),
            "back": N_("Take back [⌫]"),
            "same": N_("Same as overall"),
        }.items()
    }
    return f"""
<div class="desk" data-token="{escape(slate.token)}" data-answers="{len(slate.answers)}"
     data-orders="{escape(json.dumps(given))}"
     data-words="{escape(json.dumps(dict(words.DESK)))}">
<div class="criteria" role="radiogroup" aria-label="{said["by"]}">{criteria}</div>
<p class="criterion-asks"></p>
<p class="following" hidden>{said["follows"]}</p>
<ol class="order" aria-label="{said["order"]}"></ol>
<p class="left" aria-live="polite"></p>
<div class="desk-acts">
<button type="button" data-act="tie">{said["tie"]}</button>
<button type="button" data-act="rest">{said["rest"]}</button>
<button type="button" data-act="back">{said["back"]}</button>
<button type="button" class="same" data-act="same" hidden>{said["same"]}</button>
</div>
</div>
"""


def orders_of(sent: str) -> Orders:
    """What the browser sends, as a record. Raises ChatError where it is not one."""
    try:
        said = json.loads(sent)
        overall = _ranks(said["overall"])
        criteria = {Criterion(name): _ranks(ranks) for name, ranks in said["criteria"].items()}
        for criterion, ranks in {Criterion.OVERALL: overall, **criteria}.items():
            left = [place for place, rank in enumerate(ranks, start=1) if rank == 0]
            if left:
                raise ChatError(words.missing_line(criterion, left))
        return Orders(overall=overall, criteria=criteria)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ChatError(
            tr("This order cannot be read: reload the page and give it again.")
        ) from error


def _ranks(value: list[int]) -> Ranks:
    return tuple(int(rank) for rank in value)
