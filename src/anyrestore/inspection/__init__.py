"""Looking inside a network: what it attends to, chooses and knows of a picture, read off by forward hooks."""

from anyrestore.inspection.looking import Findings, look
from anyrestore.inspection.views import Maps, Matrices, Shares, Spectrum, Strip, View

__all__ = ["Findings", "Maps", "Matrices", "Shares", "Spectrum", "Strip", "View", "look"]
