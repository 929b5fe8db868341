"""Layer tickets of anyone's network: find a smaller network before training it, keep it in a file, load it again."""

from layerlottery.tickets.files import load_ticket, save_ticket
from layerlottery.tickets.finding import find_ticket, prune, score
from layerlottery.tickets.ticket import Cost, Latency, Ticket

__all__ = ["Cost", "Latency", "Ticket", "find_ticket", "load_ticket", "prune", "save_ticket", "score"]
