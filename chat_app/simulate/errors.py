"""A simulation that cannot start or go on; the text is one sentence for who started it."""


class SimulationError(Exception):
    pass
