"""The words that users read, in their language: English is the message, a gettext catalogue has the others.

`_`, `n_` and `p_` translate what is written in the app and the command line, `N_` marks what is written as a constant
and translated where it is shown, `shown` translates a finished English sentence of the engine.
"""

from compression.language.catalog import ENGLISH, LANGUAGES, fitting
from compression.language.messages import N_, _, n_, p_
from compression.language.sentences import shown
from compression.language.spoken import ask, current, of_locale, speak

__all__ = ["ENGLISH", "LANGUAGES", "N_", "_", "ask", "current", "fitting", "n_", "of_locale", "p_", "shown", "speak"]
