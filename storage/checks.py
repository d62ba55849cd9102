"""What a setting must hold before anything is built with it."""


def check_whole(name: str, value: object, low: int, high: int | None = None) -> None:
    """Raises ValueError unless ``value`` is an int from ``low`` to ``high``; True is none."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or value < low or (high is not None and value > high):
        span = f"of at least {low}" if high is None else f"from {low} to {high}"
        raise ValueError(f"{name} must be a whole number {span}, got {value!r}")
