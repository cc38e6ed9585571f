"""The columns of the rollups of a kind and how they come about, made from its declaration. As text for statements."""

from hseie.readings import Kind


def rolled_columns(kind: Kind) -> list[str]:
    """Return the columns of {kind}_hour and {kind}_day besides device and bucket, in their order."""
    parts = ("first", "last", "min", "max", "sum")
    measured = [f"{field.column}_{part}" for field in kind.measured for part in parts]
    return ["readings", kind.energy.column, *measured]


def from_readings(kind: Kind) -> list[str]:
    """Return the same columns over effective readings, whose time is `at`."""
    energy = kind.energy.column
    return ["count(*) AS readings", f"sum({energy}) AS {energy}"] + [
        text
        for column in (field.column for field in kind.measured)
        for text in (
            f"(array_agg({column} ORDER BY at))[1] AS {column}_first",
            f"(array_agg({column} ORDER BY at))[count(*)] AS {column}_last",
            f"min({column}) AS {column}_min",
            f"max({column}) AS {column}_max",
            f"sum({column}) AS {column}_sum",
        )
    ]


def from_hours(kind: Kind) -> list[str]:
    """Return the same columns over rows of {kind}_hour."""
    energy = kind.energy.column
    return ["sum(readings)::bigint AS readings", f"sum({energy}) AS {energy}"] + [
        text
        for column in (field.column for field in kind.measured)
        for text in (
            f"(array_agg({column}_first ORDER BY hour.bucket))[1] AS {column}_first",
            f"(array_agg({column}_last ORDER BY hour.bucket DESC))[1] AS {column}_last",
            f"min({column}_min) AS {column}_min",
            f"max({column}_max) AS {column}_max",
            f"sum({column}_sum) AS {column}_sum",
        )
    ]
