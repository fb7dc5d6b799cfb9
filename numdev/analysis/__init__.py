"""What the outputs say: classes of equal bytes, sizes, effects of factors. Pure functions over
observations.
"""

from numdev.analysis.answer import answer
from numdev.analysis.hosts import HOST, Host
from numdev.analysis.observation import Observation, OutputRef
from numdev.analysis.result import Answer

__all__ = ["HOST", "Answer", "Host", "Observation", "OutputRef", "answer"]
